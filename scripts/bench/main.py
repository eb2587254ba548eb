"""Ratios between ways of doing the same work, measured in one go: alternating runs, medians, all shown.

scripts/benchmark overhead      our serial, data and pipeline modes against bare PyTorch scripts
scripts/benchmark modes         every mode against serial, on an MLP and on a residual CNN, and where workers'
                                seconds go; renews the README's section
scripts/benchmark start         from command to first training step; CPU time of --help
scripts/benchmark loader        what our loaders cost, against torchvision's reference recipe
scripts/benchmark predict       what `layerpar predict` says beside what two workers take, over several links
scripts/benchmark emulated      the same on 4, 8 and 16 workers whose layers sleep instead of computing
scripts/benchmark slow_link     every mode between two hosts (network namespaces; needs root), over links of
                                100 Mbit/s to 10 Gbit/s; renews the README's section and figure
scripts/benchmark against --other CHECKOUT
                                every mode here against the same mode of another version
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from layerpar.launchers.base import KEEP_MEMORY

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
Summary = dict[str, Any]
LAYERPAR = [sys.executable, "-m", "layerpar.cli"]

MLP = (
    "dataset=synthetic",
    "dataset.shape=[1,32,32]",
    "dataset.num_train=15360",
    "dataset.num_test=256",
    "architecture=mlp",
    "architecture.depth=8",
    "architecture.width=1024",
    "batch_size=256",
    "epochs=1",
    "optimizer.lr=0.01",
    "target_accuracy=null",
)
CNN = (
    "dataset=synthetic",
    "dataset.shape=[3,32,32]",
    "dataset.num_train=3840",
    "dataset.num_test=256",
    "architecture=resnet",
    "architecture.depth=32",
    "architecture.width=16",
    "batch_size=128",
    "epochs=1",
    "optimizer.lr=0.01",
    "target_accuracy=null",
)
WORKS = {"mlp": MLP, "cnn": CNN}
MODES = {
    "serial": ("mode=serial",),
    "serial, 2 threads": ("mode=serial", "threads_per_worker=2"),
    "data": ("mode=data",),
    "pipeline 1f1b": ("mode=pipeline",),
    "layerwise local": ("mode=layerwise", "objective=local"),
    "layerwise delayed": ("mode=layerwise", "objective=delayed"),
    "layerwise delayed, link_delay 1": ("mode=layerwise", "objective=delayed", "objective.link_delay=1"),
}
CUT = {"mlp": "mode.partition=[4]", "cnn": "mode.partition=[8]"}
"""The cut of bare_pipeline.py."""


def ours(work: str, *overrides: str, checkout: Path = ROOT) -> Summary:
    """The summary of one run of a checkout, made in a directory that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*LAYERPAR, "train", *WORKS[work], *overrides, f"hydra.run.dir={folder}/run"]
        options: dict[str, Any] = {"env": os.environ | {"PYTHONPATH": str(checkout)}, "cwd": checkout}
        ended = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        if ended.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{ended.stdout}{ended.stderr}")
        return json.loads(Path(folder, "run", "summary.json").read_text())


def bare(script: str, work: str, *, workers: int) -> Summary:
    """`train_seconds` of a script of a few dozen lines that does the same work with PyTorch alone, with the
    same environment as our workers have."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        str(workers),
        "--standalone",
    ]
    ended = subprocess.run(
        [*command, str(HERE / script), work],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | KEEP_MEMORY,
    )
    if ended.returncode != 0:
        sys.exit(ended.stderr)
    return {"train_seconds": float(ended.stdout.split()[-1])}


def alternate(
    ways: dict[str, Callable[[], Summary]], *, rounds: int, title: str, unit: str
) -> dict[str, list[Summary]]:
    """Measure every way once per round, in turn; print medians, spread, and the ratio to the first way.

    Returns the summaries of each way, by round.
    """
    console = Console(width=110)
    found: dict[str, list[Summary]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, measure in ways.items():
            found[name].append(measure())
            took = found[name][-1]["train_seconds"]
            console.print(f"round {number + 1}/{rounds}  {name}  {took:.3f} s", style="dim")
    table = Table("way", "median s", "min s", "max s", f"speed relative to {unit}", "per round", title=title)
    seconds = {name: [run["train_seconds"] for run in runs] for name, runs in found.items()}
    first = next(iter(ways))
    for name, values in seconds.items():
        ratios = [base / value for base, value in zip(seconds[first], values, strict=True)]
        table.add_row(
            name,
            f"{median(values):.3f}",
            f"{min(values):.3f}",
            f"{max(values):.3f}",
            f"{median(ratios):.3f}",
            " ".join(f"{ratio:.2f}" for ratio in ratios),
        )
    console.print(table)
    return found


def overhead(rounds: int) -> None:
    """Throughput of our loops relative to bare scripts."""
    for work in WORKS:
        ways = {
            "bare PyTorch": lambda work=work: bare("bare_serial.py", work, workers=1),
            "layerpar serial": lambda work=work: ours(work, "mode=serial"),
        }
        alternate(ways, rounds=rounds, title=f"serial, {work}", unit="bare")
        ways = {
            "bare DDP, 2 workers": lambda work=work: bare("bare_ddp.py", work, workers=2),
            "layerpar data": lambda work=work: ours(work, "mode=data", "workers=2"),
        }
        alternate(ways, rounds=rounds, title=f"data, {work}", unit="bare")
        ways = {
            "bare pipelining, 2 workers": lambda work=work: bare("bare_pipeline.py", work, workers=2),
            "layerpar pipeline": lambda work=work: ours(work, "mode=pipeline", "workers=2", CUT[work]),
        }
        alternate(ways, rounds=rounds, title=f"pipeline, {work}", unit="bare")


def modes(rounds: int) -> None:
    """Every mode, and where the workers' seconds go."""
    from modes import modes as compare

    compare(rounds, WORKS)


def against(rounds: int, other: Path) -> None:
    """Every mode here and in another checkout, in turn."""
    for work in WORKS:
        for name, overrides in MODES.items():
            ways = {
                f"{name}, other": partial(ours, work, *overrides, checkout=other),
                f"{name}, here": partial(ours, work, *overrides),
            }
            alternate(ways, rounds=rounds, title=f"{name}, {work}", unit="other")


def start(rounds: int) -> None:
    """Seconds until the first step, and CPU seconds of help."""
    work = next(iter(WORKS))
    seconds = [
        ours(work, "mode=layerwise", "workers=2", "dataset.num_train=512")["start_seconds"]
        for _ in range(rounds)
    ]
    print(f"command to first step, 2 workers: median {median(seconds):.2f} s of {sorted(seconds)}")
    times = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*LAYERPAR, "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    print(f"layerpar --help: median {median(times):.3f} s of CPU time")


def loader(rounds: int) -> None:
    """What the loaders cost; `rounds` is their own."""
    from loader import main as measure_loaders

    measure_loaders(Path(os.environ.get("LAYERPAR_DATA") or "data") / "imagenette")


def predict(rounds: int) -> None:
    """Predictions beside measurements."""
    from predictions import real

    real(rounds)


def emulated(rounds: int) -> None:
    """Predictions beside emulated computing."""
    from predictions import emulated as emulate

    emulate(rounds)


def slow_link(rounds: int, *, quick: bool) -> None:
    """Every mode over links of several rates."""
    from slow_link import slow_link as compare

    compare(rounds, quick=quick)


def main() -> None:
    """Entry point of `scripts/benchmark`."""
    parser = argparse.ArgumentParser(
        prog="scripts/benchmark", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    measures = {
        "overhead": overhead,
        "modes": modes,
        "start": start,
        "loader": loader,
        "predict": predict,
        "emulated": emulated,
    }
    parser.add_argument("measure", choices=[*measures, "slow_link", "against"])
    parser.add_argument("--other", type=Path, help="checkout of the other version, for against")
    parser.add_argument("--rounds", type=int, help="5; for slow_link 3")
    parser.add_argument("--quick", action="store_true", help="slow_link in tiny sizes, to see it work")
    parser.add_argument("--work", choices=WORKS, help="only this network")
    given = parser.parse_args()
    if given.work:
        for work in set(WORKS) - {given.work}:
            del WORKS[work]
    if given.measure == "slow_link":
        slow_link(given.rounds or 3, quick=given.quick)
    elif given.measure != "against":
        measures[given.measure](given.rounds or 5)
    elif given.other is None:
        parser.error("against needs --other CHECKOUT")
    else:
        against(given.rounds or 5, given.other.resolve())


if __name__ == "__main__":
    main()
