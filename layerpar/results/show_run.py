"""What a command prints when one run has ended; it waits for neither pandas nor matplotlib."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from layerpar.paths import RunDirectory
from layerpar.results.screen import print_whole
from layerpar.results.words import CONTENDED, MEBIBYTE


def show_run(root: Path, console: Console) -> None:
    """One screen about one finished run."""
    directory = RunDirectory(root)
    summary = json.loads(directory.summary.read_text())

    def say(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False, markup=False)

    say(f"{summary['label']} on {summary['dataset']}, {summary['architecture']} depth {summary['depth']}")
    print_whole(_workers(summary), console)
    for pin in pins(directory):
        say(f"the same cut again: {pin}")
    target = ""
    if summary["target_accuracy"] is not None:
        reached = summary["time_to_target_seconds"]
        when = "never reached" if reached is None else f"after {reached:.2f} s"
        target = f"  {summary['target_accuracy']:.2%} {when}"
    say(
        f"test accuracy {summary['test_accuracy']:.2%}  train {summary['train_seconds']:.2f} s"
        f"  {summary['samples_per_second']:,.0f} samples/s{target}"
    )
    if summary["paused_seconds"]:
        say(
            f"paused for {summary['paused_seconds']:.1f} s while it trained (Ctrl-Z, or the machine slept); "
            "do not quote these seconds"
        )
    if summary["contended"]:
        say(f"contended: {CONTENDED}; do not quote these seconds")
    say(f"run directory: {root}")


def _workers(summary: dict[str, Any]) -> Table:
    """A row per worker; predicted beside measured load where it was predicted."""
    ranks = summary["ranks"]
    predicted = any(rank.get("predicted_step_seconds") is not None for rank in ranks)
    loads = ("predicted\nms/step", "busy\nms/step") if predicted else ()
    heads = ("busy\ns", "exchanging\ns", "waiting\ns", *loads, "sent\nMiB", "peak\nMiB")
    table = Table("worker", "layers", box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="right")
    for rank in ranks:
        cells = [f"{rank[f'{kind}_seconds']:.2f}" for kind in ("busy", "exchange", "wait")]
        if predicted:
            loaded = (rank["predicted_step_seconds"], rank["busy_seconds"] / summary["steps"])
            cells += ["-" if seconds is None else f"{1000 * seconds:.1f}" for seconds in loaded]
        cells += [f"{rank['sent_bytes'] / MEBIBYTE:.1f}", f"{rank['peak_memory_bytes'] / MEBIBYTE:.0f}"]
        table.add_row(str(rank["rank"]), rank["layers"], *cells)
    return table


def pins(directory: RunDirectory) -> list[str]:
    """The overrides that repeat the cuts of a run, as its metrics tell them: one for each phase that cut."""
    found: dict[str, str] = {}
    prefix = ""
    for line in map(json.loads, directory.metrics.read_text().splitlines()):
        if line["event"] == "phase":
            prefix = f"phases.{line['name']}."
        elif line["event"] == "engine" and line.get("cuts"):
            found[prefix] = f"{prefix}mode.partition=[{','.join(map(str, line['cuts']))}]"
    return list(found.values())
