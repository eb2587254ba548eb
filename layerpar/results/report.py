"""`layerpar report`: run directories in, tables out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from layerpar.errors import require_choice
from layerpar.results import formats
from layerpar.results.choices import TABLES
from layerpar.results.groups import summarise
from layerpar.results.load import Runs, load
from layerpar.results.speedup import BASELINE
from layerpar.results.tables import report_tables


def report(
    directories: Sequence[Path],
    *,
    format: str = "table",
    baseline: str = BASELINE,
    predict: Callable[[Runs], Runs] | None = None,
) -> None:
    """Print the table of all runs at or below these directories; skipped ones are named on standard error.

    Args:
        directories: Run directories, and directories of them.
        format: One of `layerpar.results.choices.TABLES`.
        baseline: The mode (or label, such as `layerwise local`) that speed-up is measured against.
        predict: Adds predicted to measured seconds; None for measurements only.

    Raises:
        UserError: no run could be read, or none is of that baseline.
    """
    require_choice("--format", format, TABLES)
    runs = load(directories)
    if predict is not None:
        runs = predict(runs)
    if format == "table":
        formats.show(report_tables(runs, baseline=baseline), Console())
    else:
        sys.stdout.write(render(runs, format=format, baseline=baseline))
    for reason in runs.skipped:
        print(f"skipped {reason}", file=sys.stderr)


def render(runs: Runs, *, format: str, baseline: str = BASELINE) -> str:
    """The table as the content of a file, in any format but `table`; `html` is a page with all figures.

    Raises:
        UserError: no run is of that baseline.
    """
    if format in ("csv", "json"):
        groups = summarise(runs, baseline=baseline)
        return formats.csv(groups) if format == "csv" else formats.as_json(groups)
    if format == "html":
        from layerpar.results.page import page  # matplotlib: only where figures are drawn
        from layerpar.results.plots.draw import pictures

        return page(runs, pictures(runs), baseline=baseline)
    tables = report_tables(runs, baseline=baseline)
    return formats.markdown(tables) if format == "markdown" else formats.latex(tables)
