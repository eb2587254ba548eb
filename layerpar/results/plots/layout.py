"""The frame of all figures: colour-blind safe, and legible without colour by line style, marker and hatch."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from layerpar.results.words import CONTENDED

RC: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "hatch.linewidth": 0.6,
    "savefig.dpi": 160,
    "svg.hashsalt": "layerpar",
    "text.parse_math": False,
}
"""matplotlib's settings while figures are drawn and saved."""

CHARACTERS_PER_INCH = 16
"""Of the caption's font."""

CHARACTER_INCHES = 0.075
"""Of names beside bars, and in legends."""
SAMPLE_INCHES = 0.65
"""Of the line before a name in a legend."""
TITLE_CHARACTER_INCHES = 0.066
"""Of panels' titles, on average."""
TICKS_INCHES = 0.5
"""What a panel of a grid leaves beside its lines."""
BARS_INCHES = 3.2
"""The least that is left for bars beside their names."""

UNBROKEN = "\N{NO-BREAK SPACE}"


def new_figure(
    title: str, caption: str, *, width: float, height: float, handles: Sequence[Any] = ()
) -> Figure:
    """An empty figure: its title, what it was measured on in small letters, and one legend at the bottom.

    Args:
        title: What it shows.
        caption: Hardware and seeds.
        width: In inches, at least; as much as the longest entry of the legend asks for.
        height: In inches, of the panels; title, caption and legend come on top of it.
        handles: The legend's entries, none for no legend.
    """
    longest = max((len(handle.get_label()) for handle in handles), default=0)
    entry = SAMPLE_INCHES + CHARACTER_INCHES * longest
    width = max(width, entry)
    across = max(1, min(len(handles), int(width / entry)))
    rows = textwrap.wrap(caption, int(width * CHARACTERS_PER_INCH))
    strip = 0.42 + 0.15 * len(rows)
    panels = height + 0.2 * -(-len(handles) // across)
    top = panels + strip
    figure = Figure(figsize=(width, top))
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0, 0, 1, panels / top), w_pad=0.06, h_pad=0.06))
    figure.text(0.12 / width, 1 - 0.1 / top, title, fontsize=11, fontweight="bold", va="top")
    figure.text(0.12 / width, 1 - 0.34 / top, "\n".join(rows), fontsize=7.5, color="#555555", va="top")
    if handles:
        figure.legend(handles=list(handles), loc="outside lower center", ncols=across, handlelength=2.8)
    return figure


def grid(
    title: str, caption: str, panels: Sequence[str], *, ylabel: str, handles: Sequence[Any]
) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each of these titles, two or three in a row."""
    across = 2 if len(panels) == 4 else min(3, len(panels))
    down = -(-len(panels) // across)
    width, height = (6.4, 3.7) if across == 1 else (3.6 * across, 2.9 * down + 0.3)
    figure = new_figure(title, caption, width=width, height=height, handles=handles)
    axes: list[Axes] = []
    for number, panel in enumerate(panels):
        ax = figure.add_subplot(down, across, number + 1)
        ax.set_title(_wrapped(panel, width / across), loc="left")
        if number % across == 0:
            ax.set_ylabel(ylabel)
        axes.append(ax)
    return figure, axes


def _wrapped(title: str, width: float) -> str:
    """A panel's title whose lines are no longer than the panel, `width` inches, beside the ticks' labels."""
    most = int((width - TICKS_INCHES) / TITLE_CHARACTER_INCHES)
    return "\n".join(part for line in title.split("\n") for part in textwrap.wrap(line, most))


def rows(
    title: str,
    caption: str,
    bars: Sequence[int],
    *,
    bar_height: float,
    names: Iterable[str] = (),
    handles: Sequence[Any] = (),
    width: float = 6.4,
) -> tuple[Figure, list[Axes]]:
    """A figure with one panel below another, each as high as its number of horizontal bars asks for.

    It is as wide as `width`, or as the names beside its bars ask for.
    """
    width = max(width, beside_names(names))
    height = 0.65 * len(bars) + bar_height * sum(bars) + 0.25
    figure = new_figure(title, caption, width=width, height=height, handles=handles)
    axes = figure.subplots(
        len(bars), 1, squeeze=False, height_ratios=[bar_height * count + 0.2 for count in bars]
    )
    return figure, list(axes[:, 0])


def beside_names(names: Iterable[str]) -> float:
    """The width of a panel that has room for bars beside these names, in inches."""
    return BARS_INCHES + CHARACTER_INCHES * max(map(len, names), default=0)


def name_bars(ax: Axes, names: Sequence[str]) -> None:
    """Write the names beside horizontal bars at 0, 1, …, the first on top."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.45, -0.55)
    ax.grid(visible=False, axis="y")


def caption(runs: pd.DataFrame, *, spread: bool = True, mark: str | None = "*") -> str:
    """Hardware, threads and number of seeds of what a figure shows.

    Args:
        runs: What it shows, with its `series`.
        spread: It shows the interval of the means too.
        mark: How it marks contended runs; None where it shows no seconds.
    """
    parts = [str(machine) for machine in runs["hardware"].dropna().unique()] or ["hardware unknown"]
    threads = sorted(runs["threads_per_worker"].unique())
    many = "" if list(threads) == [1] else "s"
    parts.append(f"{' or '.join(map(str, threads))} thread{many} per worker")
    counts = sorted(set(runs.groupby("series")["seed"].nunique()))
    what = "mean ± 95 % interval" if spread else "mean"
    seeds = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    parts.append("1 seed" if counts == [1] else f"{what} over {seeds} seeds")
    if mark is not None and runs["contended"].any():
        parts.append(f"{mark}: contended ({CONTENDED})")
    return " · ".join(part.replace(" ", UNBROKEN) for part in parts)
