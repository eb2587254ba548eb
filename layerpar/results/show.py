"""What the commands print when runs have ended."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from layerpar.paths import RunDirectory
from layerpar.results import formats
from layerpar.results.load import find_run_directories, load
from layerpar.results.plots.draw import draw
from layerpar.results.report import render
from layerpar.results.tables import comparison_tables

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


def show_sweep(directory: Path, console: Console) -> None:
    """The table of a sweep or a comparison, and beside its runs: results.csv, results.md, figures/.

    Runs that did not end well are rows too; a sweep without any run prints nothing.
    """
    if not find_run_directories([directory]):
        return
    results = load([directory])
    formats.show(comparison_tables(results.runs), console)
    for name, form in (("results.csv", "csv"), ("results.md", "markdown")):
        (directory / name).write_text(render(results, format=form))
    for problem in results.problems:
        console.print(f"skipped {problem}", soft_wrap=True)
    folder = directory / "figures"
    folder.mkdir(exist_ok=True)
    written, _ = draw(results, folder)
    pictures = [path for path in written if path.suffix == ".png"]
    if pictures:
        others = f" and {len(pictures) - 1} more beside it" if len(pictures) > 1 else ""
        console.print(f"figure: {pictures[0]}{others}", soft_wrap=True, highlight=False)
    console.print(f"results: {directory}", soft_wrap=True, highlight=False)
