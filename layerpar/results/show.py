"""What the commands print when runs have ended."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from layerpar.paths import RunDirectory

MEBIBYTE = 2**20


def show_run(root: Path, console: Console) -> None:
    """One screen about one finished run."""
    directory = RunDirectory(root)
    summary = json.loads(directory.summary.read_text())
    title = f"{summary['mode']} on {summary['dataset']}, {summary['architecture']} depth {summary['depth']}"
    table = Table("worker", "layers", "busy s", "waiting s", "MiB sent", "peak MiB", title=title)
    for rank in summary["ranks"]:
        table.add_row(
            str(rank["rank"]),
            rank["layers"],
            f"{rank['busy_seconds']:.2f}",
            f"{rank['wait_seconds']:.2f}",
            f"{rank['sent_bytes'] / MEBIBYTE:.1f}",
            f"{rank['peak_memory_bytes'] / MEBIBYTE:.0f}",
        )
    console.print(table)
    target = ""
    if summary["target_accuracy"] is not None:
        reached = summary["time_to_target_seconds"]
        when = "never reached" if reached is None else f"after {reached:.2f} s"
        target = f"  {summary['target_accuracy']:.2%} {when}"
    console.print(
        f"test accuracy {summary['test_accuracy']:.2%}  train {summary['train_seconds']:.2f} s"
        f"  {summary['samples_per_second']:,.0f} samples/s{target}",
        highlight=False,
    )
    if summary["contended"]:
        console.print("contended: more threads than cores, or a shared GPU; do not quote these seconds")
    console.print(f"run directory: {root}", soft_wrap=True, highlight=False)
