"""The columns of the tables for people: what a line says in each."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

MEBIBYTE = 2**20
NOTHING = "-"

Line = Mapping[Hashable, Any]


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        title: Its head; a line break where a narrow head has one.
        cell: The text for a line.
        is_text: Aligned left; numbers are aligned right.
        optional: Left out of a table in which all lines that have it say the same.
    """

    title: str
    cell: Callable[[Line], str]
    is_text: bool = False
    optional: bool = False


def number(value: float, *, like: float | None = None) -> str:
    """As many decimals as its size asks for; `like` gives it those of another number."""
    if math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞"
    size = abs(value if like is None else like)
    decimals = 0 if size >= 100 or size == 0 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:,.{decimals}f}"


def spread(line: Line, measure: str, *, scale: float = 1.0) -> str:
    """Mean ± deviation of a measure; how many of the finished runs have it, if not all."""
    mean, std, count = (line[key] for key in (measure, f"{measure}_std", f"{measure}_count"))
    text = number(mean * scale)
    if not math.isnan(std):
        text += f" ± {number(std * scale, like=mean * scale)}"
    return f"{text} ({count} of {line['num_done']})" if 0 < count < line["num_done"] else text


def _accuracy(line: Line) -> str:
    mean, std = line["test_accuracy"], line["test_accuracy_std"]
    if math.isnan(mean):
        return NOTHING
    return f"{100 * mean:.2f}" + ("" if math.isnan(std) else f" ± {100 * std:.2f}")


def _time_to_target(line: Line) -> str:
    if math.isinf(line["time_to_target_seconds"]):
        reached, count = line["num_reached"], line["time_to_target_seconds_count"]
        return f"∞ ({reached} of {count} reached)" if reached else "∞"
    return spread(line, "time_to_target_seconds")


def _mode(line: Line) -> str:
    return f"{line['label']} *" if line["contended"] else str(line["label"])


def compact(count: float) -> str:
    """A count in thousands, millions or billions: `8.4M`."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.0f}"


def _text(value: Any) -> str:
    return NOTHING if value is None or value != value else str(value)


MODE = Column("mode", _mode, is_text=True)
AGGREGATION = Column("aggregation", lambda line: _text(line["aggregation"]), is_text=True)
WORKERS = Column("workers", lambda line: str(line["workers"]))
ACCURACY = Column("accuracy\n%", _accuracy)
SECONDS = Column("train\nseconds", lambda line: spread(line, "train_seconds"))
SPEED_UP = Column("speed-up", lambda line: spread(line, "speed_up"))
TARGET = Column("time to\ntarget s", _time_to_target)
WAITING = Column("waiting\n%", lambda line: number(100 * line["wait_fraction"]))
MEMORY = Column("peak MiB\n/worker", lambda line: number(line["peak_memory_bytes"] / MEBIBYTE))
SETTINGS = Column("settings", lambda line: line["settings"], is_text=True, optional=True)
STATUSES = Column("runs", lambda line: line["statuses"], is_text=True)

REPORT = [
    MODE,
    AGGREGATION,
    SETTINGS,
    WORKERS,
    Column("threads", lambda line: str(line["threads_per_worker"]), optional=True),
    ACCURACY,
    SECONDS,
    SPEED_UP,
    TARGET,
    WAITING,
    Column("MiB sent\n/step", lambda line: number(line["sent_bytes_per_step"] / MEBIBYTE)),
    MEMORY,
    STATUSES,
]
COMPARISON = [
    MODE,
    replace(AGGREGATION, optional=True),
    SETTINGS,
    WORKERS,
    ACCURACY,
    SECONDS,
    SPEED_UP,
    TARGET,
    WAITING,
    Column("MiB\nsent", lambda line: number(line["sent_bytes"] / MEBIBYTE)),
    MEMORY,
    Column("runs", lambda line: line["statuses"], is_text=True, optional=True),
]
