"""One look for all figures: colour-blind safe, and legible without colour by line style, marker and hatch."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

RC: dict[str, Any] = {
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
}
"""matplotlib's settings while figures are drawn and saved."""

BLACK, ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE, GREY = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#8c8c8c",
)
"""Okabe and Ito's palette ("Color universal design", 2008) without its yellow, and a grey."""

COLOURS = (GREEN, VERMILLION, BLUE, ORANGE, PURPLE, SKY, GREY)
"""Without black, which is serial's everywhere."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = (
    "solid",
    "dashed",
    "dashdot",
    "dotted",
    (0, (6, 2, 1, 2, 1, 2)),
    (0, (8, 2)),
    (0, (2, 1)),
    (0, (1, 3)),
)

CHARACTERS_PER_INCH = 16
"""Of the caption's font."""


@dataclass(frozen=True)
class Look:
    """How one line or bar is drawn."""

    color: str
    marker: str
    linestyle: Any


OWN = {
    "serial": Look(BLACK, "o", "solid"),
    "serial all": Look(GREY, "X", (0, (8, 2))),
    "sequential": Look(SKY, "v", (0, (2, 1))),
    "data": Look(BLUE, "^", "dashdot"),
    "pipeline": Look(ORANGE, "D", "dotted"),
    "layerwise local": Look(GREEN, "s", "dashed"),
    "layerwise delayed": Look(VERMILLION, "P", "solid"),
    "layerwise frozen": Look(PURPLE, "*", (0, (6, 2, 1, 2, 1, 2))),
}
"""A way of training looks the same in every figure."""


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for every series: the first of a way of training has its own, its variants what is left."""
    taken: dict[str, Look] = {}
    waiting = []
    for name in names:
        own = _own(name)
        if own is None or own in taken.values():
            waiting.append(name)
        else:
            taken[name] = own
    used = {look.color for look in taken.values()}
    free = [color for color in COLOURS if color not in used] or list(COLOURS)
    for number, name in enumerate(waiting):
        shift = number + number // len(free)
        taken[name] = Look(free[number % len(free)], MARKERS[shift % 8], DASHES[(shift + 1) % 8])
    return taken


def _own(name: str) -> Look | None:
    if name.startswith("serial ("):
        return OWN["serial all"]
    label = name.partition(",")[0]
    return OWN.get(label) or OWN.get(label.partition(" ")[0])


def new_figure(
    title: str, caption: str, *, width: float, height: float, handles: Sequence[Any] = ()
) -> Figure:
    """An empty figure: its title, what it was measured on in small letters, and one legend at the bottom.

    Args:
        title: What it shows.
        caption: Hardware and seeds.
        width: In inches.
        height: In inches, of the panels; title, caption and legend come on top of it.
        handles: The legend's entries, none for no legend.
    """
    rows = textwrap.wrap(caption, int(width * CHARACTERS_PER_INCH))
    strip = 0.42 + 0.15 * len(rows)
    longest = max((len(handle.get_label()) for handle in handles), default=0)
    across = max(1, min(len(handles), int(width / (0.65 + 0.075 * longest))))
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
    """A figure with a panel for each of these titles, three in a row."""
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    width, height = (6.4, 3.7) if across == 1 else (3.6 * across, 2.9 * down + 0.3)
    figure = new_figure(title, caption, width=width, height=height, handles=handles)
    axes: list[Axes] = []
    for number, panel in enumerate(panels):
        ax = figure.add_subplot(down, across, number + 1)
        ax.set_title(panel, loc="left")
        if number % across == 0:
            ax.set_ylabel(ylabel)
        axes.append(ax)
    return figure, axes


def rows(
    title: str, caption: str, bars: Sequence[int], *, bar_height: float, handles: Sequence[Any] = ()
) -> tuple[Figure, list[Axes]]:
    """A figure with one panel below another, each as high as its number of horizontal bars asks for."""
    height = 0.65 * len(bars) + bar_height * sum(bars) + 0.25
    figure = new_figure(title, caption, width=6.4, height=height, handles=handles)
    axes = figure.subplots(
        len(bars), 1, squeeze=False, height_ratios=[bar_height * count + 0.2 for count in bars]
    )
    return figure, list(axes[:, 0])


def name_bars(ax: Axes, names: Sequence[str]) -> None:
    """Write the names beside horizontal bars at 0, 1, …, the first on top."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.45, -0.55)
    ax.grid(visible=False, axis="y")


def handle(name: str, look: Look) -> Line2D:
    """The legend's entry for a series."""
    return Line2D([], [], color=look.color, marker=look.marker, linestyle=look.linestyle, label=name)


def caption(runs: pd.DataFrame, *, deviation: bool = True) -> str:
    """Hardware, threads and number of seeds of what a figure shows; `deviation` if it shows that too."""
    parts = [str(machine) for machine in runs["hardware"].dropna().unique()] or ["hardware unknown"]
    threads = sorted(runs["threads_per_worker"].unique())
    many = "" if list(threads) == [1] else "s"
    parts.append(f"{' or '.join(map(str, threads))} thread{many} per worker")
    seeds = runs["seed"].nunique()
    what = "mean ± deviation" if deviation else "mean"
    parts.append("1 seed" if seeds == 1 else f"{what} over {seeds} seeds")
    return "  ·  ".join(parts)
