"""How each way of training is drawn: told apart by colour, and without colour by line style and marker."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import chain, cycle
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

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
"""Without black, which is the unit's everywhere."""

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


@dataclass(frozen=True)
class Style:
    """How one line or bar is drawn."""

    color: str
    marker: str
    linestyle: Any


OWN = (
    Style(BLACK, "o", "solid"),
    Style(GREY, "X", (0, (8, 2))),
    Style(SKY, "v", (0, (2, 1))),
    Style(BLUE, "^", "dashdot"),
    Style(ORANGE, "D", "dotted"),
    Style(GREEN, "s", "dashed"),
    Style(VERMILLION, "P", "solid"),
    Style(PURPLE, "*", (0, (6, 2, 1, 2, 1, 2))),
)
"""By the place of a way of training, so that it is drawn alike in every figure; the first is the unit."""


HOLLOW = Line2D([], [], color=GREY, marker="o", markerfacecolor="white", linestyle="none", label="contended")
"""The legend's entry for points whose seconds are contended."""


def styles(orders: Mapping[str, int]) -> dict[str, Style]:
    """A style for every series: the first of a way of training has its own, its variants the colours that
    are left, then all of them in turn with markers that these colours do not have yet.

    Args:
        orders: The place of each series' way of training; see `layerpar.modes.base.Mode.order`.
    """
    taken: dict[str, Style] = {}
    waiting = []
    for name, order in orders.items():
        own = OWN[order] if order < len(OWN) else None
        if own is None or own in taken.values():
            waiting.append(name)
        else:
            taken[name] = own
    used = {style.color for style in taken.values()}
    free = (color for color in COLOURS if color not in used)
    for number, (name, color) in enumerate(zip(waiting, chain(free, cycle(COLOURS)), strict=False)):
        taken[name] = _unlike(taken.values(), color, first=number)
    return taken


def _unlike(taken: Collection[Style], color: str, *, first: int) -> Style:
    """A style of this colour whose marker no other of this colour has, while there is one."""
    markers = {style.marker for style in taken if style.color == color}
    places = range(first, first + len(MARKERS))
    place = next((place for place in places if MARKERS[place % 8] not in markers), first)
    return Style(color, MARKERS[place % 8], DASHES[(place + 1) % 8])


def handle(name: str, style: Style) -> Line2D:
    """The legend's entry for a series."""
    return Line2D([], [], color=style.color, marker=style.marker, linestyle=style.linestyle, label=name)


def draw_points(
    ax: Axes, x: pd.Series, y: pd.Series, style: Style, *, contended: pd.Series, label: str
) -> None:
    """The markers of a series, hollow where contended."""
    for hollow, face in ((False, style.color), (True, "white")):
        some = contended == hollow
        ax.plot(x[some], y[some], style.marker, color=style.color, markerfacecolor=face, label=label)
