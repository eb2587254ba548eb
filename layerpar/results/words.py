"""Numbers in words, as tables and figures write them."""

from __future__ import annotations

import math

CONTENDED = "more threads than cores, a shared GPU, other runs beside it, or a pause"
"""What takes the meaning from a run's seconds."""

NOTHING = "-"
MEBIBYTE = 2**20


def number(value: float, *, like: float | None = None) -> str:
    """As many decimals as its size asks for; `like` gives it those of another number."""
    if math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞"
    size = abs(value if like is None else like)
    decimals = 0 if size >= 100 or size == 0 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:,.{decimals}f}"


def compact(count: float) -> str:
    """A count in thousands, millions or billions: `8.4M`."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.0f}"


def counted(count: int, noun: str) -> str:
    """`1 worker`, `2 workers`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
