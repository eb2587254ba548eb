"""`layerpar plot`: run directories in, figures out."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from layerpar.errors import UserError, require_choice
from layerpar.measure.writing import naming
from layerpar.results.load import Runs, load
from layerpar.results.plots import blocks, comparison, layout, learning, scaling, speed_up, timeline, workers
from layerpar.results.plots.panels import FigureSkippedError

FIGURES: dict[str, Callable[[Runs], Figure]] = {
    "comparison": comparison.comparison,
    "speedup_vs_depth": speed_up.against_depth,
    "speedup_vs_parameters": speed_up.against_parameters,
    "speedup_vs_workers": speed_up.against_workers,
    "efficiency_vs_workers": scaling.efficiency,
    "scaled_speedup_vs_workers": partial(speed_up.against_workers, scaled=True),
    "scaled_efficiency_vs_workers": partial(scaling.efficiency, scaled=True),
    "speedup_vs_bandwidth": speed_up.against_bandwidth,
    "accuracy_vs_time": learning.accuracy_against_time,
    "accuracy_vs_epoch": learning.accuracy_against_epoch,
    "loss_vs_time": learning.loss_against_time,
    "loss_vs_epoch": learning.loss_against_epoch,
    "loss_vs_gradient_evaluations": learning.loss_against_gradient_evaluations,
    "accuracy_vs_blocks": blocks.against_blocks,
    "time_to_target": learning.time_to_target,
    "where_the_time_goes": workers.where_the_time_goes,
    "communication_vs_workers": scaling.communication,
    "compute_to_communication": scaling.compute_to_communication,
    "memory_vs_workers": scaling.memory,
    "timeline": timeline.timeline,
    "block_loss": workers.block_loss,
}
"""Every figure by name; each raises `FigureSkippedError` where the runs have not its data."""

FORMATS = ("png", "svg", "pdf")


@dataclass(frozen=True)
class Drawn:
    """What became of the figures.

    Attributes:
        written: The files, in the order of `FIGURES`.
        not_drawn: For every figure that was not drawn, what it would take.
        skipped: A line per run directory that was not read, and why.
    """

    written: list[Path]
    not_drawn: dict[str, str]
    skipped: list[str]


def plot(
    directories: Sequence[Path],
    output: Path,
    *,
    formats: Sequence[str] = ("png", "svg"),
    predict: Callable[[Runs], Runs] | None = None,
) -> Drawn:
    """Draw every figure that the runs at or below these directories have the data for.

    Args:
        directories: Run directories, and directories of them.
        output: Folder for the files, made if it is missing.
        formats: Some of `FORMATS`.
        predict: Adds predictions to the runs; None for measurements only.

    Raises:
        UserError: no run could be read, or the folder cannot be written.
    """
    for form in formats:
        require_choice("--format", form, FORMATS)
    runs = load(directories)
    if predict is not None:
        runs = predict(runs)
    try:
        output.mkdir(parents=True, exist_ok=True)
        written, not_drawn = draw(runs, output, formats=formats)
    except OSError as error:
        raise UserError(f"cannot write {error.filename}: {error.strerror}; try --output FOLDER") from error
    return Drawn(written, not_drawn, runs.skipped)


def draw(
    runs: Runs, output: Path, *, formats: Sequence[str] = ("png", "svg")
) -> tuple[list[Path], dict[str, str]]:
    """The files written into the folder, and the figures that were not drawn with the reason."""
    written: list[Path] = []
    not_drawn: dict[str, str] = {}
    with rc_context(layout.RC):
        for name, figure in figures(runs, not_drawn):
            written += save(figure, output / name, formats=formats)
    return written, not_drawn


def save(figure: Figure, path: Path, *, formats: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Write a figure that is laid out, a file per format; `path` has no suffix."""
    files = [path.with_suffix(f".{form}") for form in formats]
    for file, form in zip(files, formats, strict=True):
        with naming(file):
            figure.savefig(file, metadata=None if form == "png" else _undated(form))
    return files


def figures(runs: Runs, not_drawn: dict[str, str]) -> Iterator[tuple[str, Figure]]:
    """Every figure that the runs have the data for; the reasons of the others go into `not_drawn`."""
    for name in FIGURES:
        try:
            yield name, make(runs, name)
        except FigureSkippedError as error:
            not_drawn[name] = str(error)


def make(runs: Runs, name: str) -> Figure:
    """One figure, laid out once, so that every format shows the same picture.

    Raises:
        FigureSkippedError: the runs have not its data.
    """
    with rc_context(layout.RC):
        return lay_out(FIGURES[name](runs))


def lay_out(figure: Figure) -> Figure:
    """Give everything its place, once and for all."""
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def svg(figure: Figure) -> str:
    """The figure as SVG. The same picture gives the same text."""
    file = io.StringIO()
    with rc_context(layout.RC):
        figure.savefig(file, format="svg", metadata=_undated("svg"))
    return file.getvalue()


def _undated(form: str) -> dict[str, None]:
    return {"Date": None} if form == "svg" else {"CreationDate": None}
