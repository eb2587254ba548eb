"""What a command prints, and writes beside the runs, when a sweep or a comparison has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from rich.console import Console

from layerpar.measure.writing import naming
from layerpar.results import formats
from layerpar.results.load import find_run_directories, load
from layerpar.results.page import page
from layerpar.results.plots.draw import pictures
from layerpar.results.report import render
from layerpar.results.tables import comparison_tables


def show_sweep(directory: Path, console: Console) -> None:
    """The table of a sweep or a comparison, and beside its runs: results.csv, .md and .html, figures/.

    Runs that did not end well are rows too; a sweep without any run prints nothing.
    """
    if not find_run_directories([directory]):
        return

    def say(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False, markup=False)

    runs = load([directory])
    formats.show(comparison_tables(runs), console)

    def write(name: str, text: str) -> None:
        with naming(directory / name):
            (directory / name).write_text(text, encoding="utf-8")

    write("results.csv", render(runs, format="csv"))
    write("results.md", render(runs, format="markdown"))
    drawn = pictures(runs)
    write("results.html", page(runs, drawn))
    for reason in runs.skipped:
        say(f"skipped {reason}")
    folder = directory / "figures"
    folder.mkdir(exist_ok=True)
    files = [path for path in drawn.save(folder) if path.suffix == ".png"]
    if files:
        others = f" and {len(files) - 1} more beside it" if len(files) > 1 else ""
        say(f"figure: {files[0]}{others}")
    found = directory / "optimization_results.yaml"
    if found.exists() and (runs.summaries["status"] == "done").any():
        say(f"found: {_found(found)}")
    say(f"page: {directory / 'results.html'}")
    say(f"results: {directory}")


def _found(path: Path) -> str:
    """What a sweeper that searches has found, in its own words: values, and settings as overrides."""
    content = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(path)))
    words = []
    for key, value in content.items():
        if isinstance(value, dict):
            words.append(" ".join(f"{name}={setting}" for name, setting in value.items()))
        elif key != "name":
            words.append(f"{key.replace('_', ' ')} {value}")
    return ", ".join(words)
