"""`layerpar plot`: run directories in, figures out."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from layerpar.errors import UserError, require_choice
from layerpar.measure.writing import naming
from layerpar.results.choices import FIGURES as FIGURE_FORMATS
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

CANVASES = {"png": FigureCanvasAgg, "svg": FigureCanvasSVG, "pdf": FigureCanvasPdf}


@dataclass(frozen=True)
class Picture:
    """A figure that is laid out once, so that every file of it shows the same.

    Attributes:
        name: Of its files.
        figure: With everything in its place.
    """

    name: str
    figure: Figure

    @classmethod
    def of(cls, name: str, figure: Figure) -> Picture:
        """Give everything its place, once and for all."""
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        return cls(name, figure)

    @cached_property
    def svg(self) -> str:
        """As SVG. The same picture gives the same text."""
        return self._drawn("svg", {"Date": None}).decode()

    def save(self, folder: Path, formats: Sequence[str] = ("png", "svg")) -> list[Path]:
        """Write a file for each of these formats."""
        files = [folder / f"{self.name}.{form}" for form in formats]
        for file, form in zip(files, formats, strict=True):
            with naming(file):
                file.write_bytes(self._content(form))
        return files

    def _content(self, form: str) -> bytes:
        if form == "svg":
            return self.svg.encode()
        return self._drawn(form, {"CreationDate": None} if form == "pdf" else None)

    def _drawn(self, form: str, metadata: dict[str, None] | None) -> bytes:
        file = io.BytesIO()
        self.figure.set_dpi(layout.RC["savefig.dpi"])  # print_svg and print_pdf leave 72 behind
        canvas = CANVASES[form](self.figure)
        with rc_context(layout.RC):
            getattr(canvas, f"print_{form}")(file, metadata=metadata)  # savefig would draw twice
        return file.getvalue()


@dataclass(frozen=True)
class Pictures:
    """Every figure that some runs have the data for.

    Attributes:
        drawn: Those, in the order of `FIGURES`.
        not_drawn: For every other, what it would take.
    """

    drawn: list[Picture]
    not_drawn: dict[str, str]

    def save(self, folder: Path, formats: Sequence[str] = ("png", "svg")) -> list[Path]:
        """The files, written into the folder."""
        return [file for picture in self.drawn for file in picture.save(folder, formats)]


def pictures(runs: Runs) -> Pictures:
    """Every figure that the runs have the data for."""
    drawn: list[Picture] = []
    not_drawn: dict[str, str] = {}
    for name in FIGURES:
        try:
            drawn.append(picture(runs, name))
        except FigureSkippedError as error:
            not_drawn[name] = str(error)
    return Pictures(drawn, not_drawn)


def picture(runs: Runs, name: str) -> Picture:
    """One of `FIGURES`.

    Raises:
        FigureSkippedError: the runs have not its data.
    """
    with rc_context(layout.RC):
        return Picture.of(name, FIGURES[name](runs))


@dataclass(frozen=True)
class Plotted:
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
) -> Plotted:
    """Draw every figure that the runs at or below these directories have the data for.

    Args:
        directories: Run directories, and directories of them.
        output: Folder for the files, made if it is missing.
        formats: Some of `layerpar.results.choices.FIGURES`.
        predict: Adds predictions to the runs; None for measurements only.

    Raises:
        UserError: no run could be read, or the folder cannot be written.
    """
    for form in formats:
        require_choice("--format", form, FIGURE_FORMATS)
    runs = load(directories)
    if predict is not None:
        runs = predict(runs)
    try:
        output.mkdir(parents=True, exist_ok=True)
        drawn = pictures(runs)
        written = drawn.save(output, formats)
    except OSError as error:
        raise UserError(f"cannot write {error.filename}: {error.strerror}; try --output FOLDER") from error
    return Plotted(written, drawn.not_drawn, runs.skipped)
