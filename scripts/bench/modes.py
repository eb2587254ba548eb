"""Every mode against serial training, on an MLP and on a residual CNN, and what the README shows of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from readme import quotable, renew

import layerpar
from layerpar.results.plots.panels import with_series
from layerpar.results.speedup import with_speed_up

OUTPUTS = Path("outputs", "benchmark_modes")
DELAYED = ["mode=layerwise", "objective=delayed"]
SOONER = [*DELAYED, "objective.link_delay=1"]
ACCUMULATED = [*SOONER, "objective.microbatches=4"]
WAYS = {
    "serial_accumulated": ["mode=serial", "mode.microbatches=4"],
    "data_accumulated": ["mode=data", "mode.microbatches=4"],
    "local_accumulated": ["mode=layerwise", "objective=local", "objective.microbatches=4"],
    "delayed": DELAYED,
    "delayed_sooner": SOONER,
    "delayed_accumulated": ACCUMULATED,
    "delayed_without_stash": [*ACCUMULATED, "objective.stash=false"],
}
"""Beside those of `layerpar compare`."""

NETWORKS = {"mlp": "MLP", "cnn": "residual CNN"}
SHARES = ("useful", "more work", "waiting", "exchanging")


def modes(rounds: int, works: dict[str, Sequence[str]]) -> None:
    """Measure every way in each round, in an order that rotates; each seed is a round.

    What was measured is kept, so the same command goes on where it was stopped. With all networks it renews
    the README's section. What is behind its numbers, as found on an AMD EPYC:

    - *Useful* is what the serial run of the same round took. It is above 100 % where half a network suits
      a core's caches better than a whole one; on a shared machine single rounds are 10 to 20 % off.
    - *More work* is what workers are busy beyond that. `local`: the auxiliary head, on the CNN 8 to 10 of
      375 ms a step, nearly all of it the pooling of its large activation. `delayed`: the gradient to the
      upper block's input, and a copy of the lower block's weights in every step, since late gradients
      need the old ones (2 of 97 ms on the MLP). Both: a core is slower while its neighbour uses the same
      memory. `pipeline`: four micro-batches are four small batches. `data`: copying and averaging
      gradients.
    - *Waiting*, CNN: 4.8 points of both layerwise rows are uneven work. A residual block is 7 % of the
      network, and a cut falls between two of them. What is left is filling and draining: `local` begins one
      forward late, `delayed` ends with `link_delay` backwards alone, 2 % of 60 steps and 4 % of 30; an
      epoch of CIFAR-10 has 390.
    - *Exchanging* is packing and handing over; the messages themselves travel while workers compute.
    - Memory that a step frees is kept for the next one (`KEEP_MEMORY` in `launchers/base.py`, every mode
      alike): giving it back to the system and fetching it again cost serial training up to 80 ms of a 910
      ms step, depending on chance.
    """
    ways = [f"+variants.{name}={json.dumps(choices)}" for name, choices in WAYS.items()]
    asked = ["-m", "~variants.sequential", *ways, "device=cpu", f"seed={','.join(map(str, range(rounds)))}"]
    runs = {
        work: layerpar.compare(*asked, *overrides, f"hydra.sweep.dir={OUTPUTS / work}")
        for work, overrides in works.items()
    }
    found = section({work: one.summaries for work, one in runs.items()})
    print(found)
    if len(works) > 1:
        renew("modes", found, by="scripts/benchmark modes")


def section(works: dict[str, pd.DataFrame]) -> str:
    """Speed-up and where the workers' seconds go, medians of the rounds, as Markdown."""
    tables = {work: _table(quotable(runs)) for work, runs in works.items()}
    first = next(iter(works.values()))
    rows = [
        ["way", *(word for work in tables for word in (NETWORKS[work], *SHARES))],
        [":--", *["--:"] * ((1 + len(SHARES)) * len(tables))],
    ]
    for way in dict.fromkeys(way for table in tables.values() for way in table.index):
        rows.append([way, *(cell for table in tables.values() for cell in table.loc[way])])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return (
        f"Speed-up over the fastest way of serial training with one thread, 2 workers of one thread, "
        f"{first['hardware'].iloc[0]}, median of {first['seed'].nunique()} rounds (lowest and highest), "
        f"then what all workers' seconds went into, %:\n\n{table}\n"
    )


def _table(runs: pd.DataFrame) -> pd.DataFrame:
    """A row of cells per way: its speed-up with its spread, and the shares of its workers' seconds."""
    runs = with_series(with_speed_up(runs), ignore=("mode.partition",))
    unit = runs[runs["is_unit"]].set_index("seed")["train_seconds"]
    shares = pd.DataFrame([_shares(run, unit[run["seed"]]) for _, run in runs.iterrows()], index=runs.index)
    rows = {}
    for way, group in runs.groupby("series", sort=False):
        speed_up = group["speed_up"]
        spread = f"{speed_up.median():.2f} ({speed_up.min():.2f} to {speed_up.max():.2f})"
        parts = shares.loc[group.index].median() if (group["workers"] > 1).all() else {}
        rows[way] = [spread, *(f"{parts[share]:.1f}" if len(parts) else "" for share in SHARES)]
    return pd.DataFrame.from_dict(rows, orient="index")


def _shares(run: pd.Series, serial_seconds: float) -> dict[str, float]:
    """Per cent of the seconds of all workers of a run.

    Args:
        run: Of `Runs.summaries`.
        serial_seconds: Train seconds of its unit.
    """
    total = run["train_seconds"] * run["workers"]
    busy = sum(rank["busy_seconds"] for rank in run["ranks"])
    exchanging = sum(rank["exchange_seconds"] for rank in run["ranks"])
    seconds = (serial_seconds, busy - serial_seconds, total - busy - exchanging, exchanging)
    return {name: 100 * part / total for name, part in zip(SHARES, seconds, strict=True)}
