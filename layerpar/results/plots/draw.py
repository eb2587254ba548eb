"""`layerpar plot`: run directories in, figures out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from layerpar.errors import UserError
from layerpar.results.load import Results, load
from layerpar.results.plots import accuracy, blocks, comparison, speed_up, style, timeline, workers
from layerpar.results.plots.panels import LeftOutError

FIGURES: dict[str, Callable[[Results], Figure]] = {
    "comparison": comparison.comparison,
    "speedup_vs_depth": speed_up.against_depth,
    "speedup_vs_parameters": speed_up.against_parameters,
    "speedup_vs_workers": speed_up.against_workers,
    "accuracy_vs_time": accuracy.against_time,
    "accuracy_vs_epoch": accuracy.against_epoch,
    "accuracy_vs_blocks": blocks.against_blocks,
    "time_to_target": accuracy.time_to_target,
    "where_the_time_goes": workers.where_the_time_goes,
    "timeline": timeline.timeline,
    "block_loss": workers.block_loss,
}
"""Every figure by the name of its files; each raises `LeftOutError` where the runs have not its data."""

FORMATS = ("png", "svg")


@dataclass(frozen=True)
class Drawn:
    """What became of the figures.

    Attributes:
        written: The files, in the order of `FIGURES`.
        left_out: For every figure that was not drawn, what it would take.
        problems: A line per run directory that was skipped, and why.
    """

    written: list[Path]
    left_out: dict[str, str]
    problems: list[str]


def plot(directories: Sequence[Path], output: Path) -> Drawn:
    """Draw every figure that the runs at or below these directories have the data for.

    Args:
        directories: Run directories, and directories of them.
        output: Folder for the files, made if it is missing.

    Raises:
        UserError: no run could be read, or the folder cannot be written.
    """
    results = load(directories)
    try:
        output.mkdir(parents=True, exist_ok=True)
        written, left_out = draw(results, output)
    except OSError as error:
        raise UserError(f"cannot write {error.filename}: {error.strerror}; try --output FOLDER") from error
    return Drawn(written, left_out, results.problems)


def draw(results: Results, output: Path) -> tuple[list[Path], dict[str, str]]:
    """The files written into the folder, and the figures left out with the reason."""
    written: list[Path] = []
    left_out: dict[str, str] = {}
    with rc_context(style.RC):
        for name, make in FIGURES.items():
            try:
                figure = make(results)
            except LeftOutError as error:
                left_out[name] = str(error)
            else:
                written += _save(figure, output / name)
    return written, left_out


def _save(figure: Figure, path: Path) -> list[Path]:
    """Lay out once, write twice. The same picture gives the same bytes: an SVG carries no date."""
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    files = [path.with_suffix(f".{form}") for form in FORMATS]
    for file in files:
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    return files
