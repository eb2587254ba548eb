"""`layerpar report`: run directories in, tables out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from layerpar.errors import require_choice
from layerpar.results import formats
from layerpar.results.lines import summarise
from layerpar.results.load import Results, load
from layerpar.results.speedup import with_speed_up
from layerpar.results.tables import report_tables

FORMATS = ("table", "markdown", "csv", "json", "html")


def report(directories: Sequence[Path], *, format: str = "table", baseline: str = "serial") -> None:
    """Print the table of all runs at or below these directories; skipped ones are named on standard error.

    Args:
        directories: Run directories, and directories of them.
        format: One of `FORMATS`.
        baseline: The mode (or label, such as `layerwise local`) that speed-up is measured against.

    Raises:
        UserError: no run could be read, or none is of that baseline.
    """
    require_choice("--format", format, FORMATS)
    results = load(directories)
    if format == "table":
        formats.show(report_tables(results.runs, baseline=baseline), Console())
    else:
        sys.stdout.write(render(results, format=format, baseline=baseline))
    for problem in results.problems:
        print(f"skipped {problem}", file=sys.stderr)


def render(results: Results, *, format: str, baseline: str = "serial") -> str:
    """The table as the content of a file, in any format but `table`.

    Raises:
        UserError: no run is of that baseline.
    """
    if format in ("csv", "json"):
        lines = summarise(with_speed_up(results.runs, baseline=baseline))
        return formats.csv(lines) if format == "csv" else formats.as_json(lines)
    tables = report_tables(results.runs, baseline=baseline)
    return formats.markdown(tables) if format == "markdown" else formats.html(tables)
