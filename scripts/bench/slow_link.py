"""`experiment=slow_link` between two hosts on this machine, and what the README shows of it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import pandas as pd
from hosts import ADDRESSES, wired, write_remote
from readme import CHECKOUT, quotable, renew

from layerpar import cli
from layerpar.results.load import load
from layerpar.results.plots.panels import with_series
from layerpar.results.speedup import with_speed_up

FIGURE = "speedup_vs_bandwidth"
RATES = {"unlimited": None, "10gbit": "10gbit", "1gbit": "1gbit", "300mbit": "300mbit", "100mbit": "100mbit"}
"""The interfaces of a host, and the rate of the wire behind each."""


def slow_link(rounds: int, *, quick: bool) -> None:
    """Every way over every link, in turn; each seed is a round. The full form renews the README's section."""
    if os.geteuid() != 0:
        sys.exit("scripts/benchmark slow_link makes network namespaces, which only root can")
    folder = Path("outputs", "slow_link-quick" if quick else "slow_link")
    seeds = () if quick else (f"seed={','.join(map(str, range(rounds)))}",)
    folder.mkdir(parents=True, exist_ok=True)
    with wired(RATES) as prefix:
        code = cli.run(
            [
                "compare",
                f"experiment={'quick/' if quick else ''}slow_link",
                *seeds,
                f"launcher.interface={','.join(['unlimited', '100mbit'] if quick else RATES)}",
                f"launcher.hosts=[{','.join(ADDRESSES)}]",
                f"launcher.remote=[{write_remote(folder.resolve(), prefix)}]",
                "device=cpu",
                f"hydra.sweep.dir={folder}",
            ],
            started=time.time(),
        )
    if code != 0:
        sys.exit(code)
    found = section(folder, figures="figures")
    print(found)
    if not quick:
        shutil.copy(folder / "figures" / f"{FIGURE}.png", CHECKOUT / "figures" / f"slow_link_{FIGURE}.png")
        renew("slow links", found, by="scripts/benchmark slow_link")


def section(folder: Path, *, figures: str) -> str:
    """Speed-up of every way over every link, medians of the rounds, as Markdown.

    Args:
        folder: The comparison's.
        figures: The folder that the picture is shown from.
    """
    runs = with_speed_up(quotable(load([folder]).summaries))
    links = {key for settings in runs["settings"] for key in settings if key.startswith("launcher.")}
    runs = with_series(runs, ignore=links)
    runs["link"] = [settings["launcher.interface"] for settings in runs["settings"]]
    by_link = runs.groupby("link")["bandwidth_gigabits"].median().sort_values(ascending=False)
    serial = runs[runs["is_unit"]]
    step = (1000 * serial["train_seconds"] / serial["steps"]).groupby(serial["link"]).median()
    speed_up = runs.pivot_table(
        index="series", columns="link", values="speed_up", aggfunc="median", sort=False
    )
    others = speed_up.drop(index="serial")
    rows = [
        ["link, Gbit/s measured", *(f"{value:.3g}" for value in by_link)],
        [":--", *["--:"] * len(by_link)],
        ["serial, ms per step", *(f"{step[link]:.0f}" for link in by_link.index)],
        *([name, *(_cell(line[link]) for link in by_link.index)] for name, line in others.iterrows()),
        ["fastest", *(str(others[link].idxmax()) for link in by_link.index)],
    ]
    hardware, rounds = runs["hardware"].dropna().iloc[0], runs["seed"].nunique()
    table = "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
    return (
        f"Speed-up over serial training, 2 workers on two hosts (network namespaces of one machine, "
        f"{hardware}), medians of {rounds} alternating round{'' if rounds == 1 else 's'}:\n\n{table}\n\n"
        f"![Speed-up against the bandwidth of the link]({figures}/slow_link_{FIGURE}.png)\n"
    )


def _cell(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.2f}"
