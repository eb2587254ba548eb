"""How each way of training is drawn: told apart by colour, and without colour by line style and marker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

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
        turn, place = divmod(number, len(free))
        taken[name] = Look(free[place], MARKERS[(place + turn) % 8], DASHES[(place + turn + 1) % 8])
    return taken


def _own(name: str) -> Look | None:
    if name.startswith("serial ("):
        return OWN["serial all"]
    label = name.removesuffix(" *").partition(",")[0]
    return OWN.get(label) or OWN.get(label.partition(" ")[0])


def handle(name: str, look: Look) -> Line2D:
    """The legend's entry for a series."""
    return Line2D([], [], color=look.color, marker=look.marker, linestyle=look.linestyle, label=name)
