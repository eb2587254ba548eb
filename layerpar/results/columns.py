"""The columns of the tables for people: what a row says in each."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from layerpar.results.verdicts import against_baseline
from layerpar.results.words import MEBIBYTE, NOTHING, number

Group = Mapping[Hashable, Any]
"""A row of `layerpar.results.groups.summarise`."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        title: Its head; a line break where a narrow head has one.
        cell: The text for a group.
        key: What the cell is sorted by, as a column of `summarise`; None to sort by its text.
        is_text: Aligned left; numbers are aligned right.
        hidden: Left out of a table in which it is the `same` in all rows that have it, or `empty`.
    """

    title: str
    cell: Callable[[Group], str]
    key: str | None = None
    is_text: bool = False
    hidden: Literal["same", "empty", "never"] = "never"


def spread(group: Group, measure: str, *, scale: float = 1.0, decimals: int | None = None) -> str:
    """Mean ± half of its 95 % interval; how many of the finished seeds have it, if not all.

    Args:
        group: The row.
        measure: One of `MEASURES`.
        scale: What it is multiplied with.
        decimals: Places after the point; None for as many as its size asks for.
    """
    mean, ci95, count = (group[key] for key in (measure, f"{measure}_ci95", f"{measure}_count"))

    def text(value: float) -> str:
        if decimals is None or not math.isfinite(value):
            return number(value * scale, like=mean * scale)
        return f"{value * scale:.{decimals}f}"

    words = text(mean) + ("" if math.isnan(ci95) else f" ± {text(ci95)}")
    return f"{words} ({count} of {group['num_seeds']})" if 0 < count < group["num_seeds"] else words


def _time_to_target(group: Group) -> str:
    if math.isinf(group["time_to_target_seconds"]):
        reached, count = group["num_reached"], group["time_to_target_seconds_count"]
        return f"∞ ({reached} of {count} reached)" if reached else "∞"
    return spread(group, "time_to_target_seconds")


def _mode(group: Group) -> str:
    return f"{group['label']} *" if group["contended"] else str(group["label"])


def _speed_up(group: Group) -> str:
    text = spread(group, "speed_up")
    if group["speed_up_contended"] and not group["contended"]:
        text += " *"  # its own seconds are good, the unit's are not
    return f"{text} scaled" if group["scaled"] else text


def _workers(group: Group) -> str:
    """Their number; where they are spread evenly over several nodes, nodes x workers of each."""
    nodes, workers = group["nodes"] or 1, group["workers"]
    even = nodes > 1 and workers % nodes == 0
    return f"{nodes:g} x {workers // nodes:g}" if even else str(workers)


def _text(value: Any) -> str:
    return NOTHING if value is None or value != value else str(value)


def _plain(
    title: str, key: str, *, scale: float = 1.0, hidden: Literal["same", "empty", "never"] = "never"
) -> Column:
    return Column(title, lambda group: number(group[key] * scale), key, hidden=hidden)


MODE = Column("mode", _mode, is_text=True)
AGGREGATION = Column("aggregation", lambda group: _text(group["aggregation"]), is_text=True)
WORKERS = Column("workers", _workers, "workers")
LINK = [
    _plain("link\nGbit/s", "bandwidth_gigabits", hidden="empty"),
    _plain("link\nµs", "latency_microseconds", hidden="empty"),
]
ACCURACY = Column(
    "accuracy\n%", lambda group: spread(group, "test_accuracy", scale=100, decimals=2), "test_accuracy"
)
VALIDATION = Column(
    "validation\n%",
    lambda group: spread(group, "validation_accuracy", scale=100, decimals=2),
    "validation_accuracy",
    hidden="empty",
)
SECONDS = Column("train\nseconds", lambda group: spread(group, "train_seconds"), "train_seconds")
PREDICTED = _plain("predicted\nseconds", "predicted_seconds", hidden="empty")
SPEED_UP = Column("speed-up", _speed_up, "speed_up")
EFFICIENCY = _plain("efficiency\n%", "efficiency", scale=100)
SERIAL_FRACTION = Column(
    "serial\nfraction",
    lambda group: NOTHING if math.isnan(group["serial_fraction"]) else f"{group['serial_fraction']:.3f}",
    "serial_fraction",
    hidden="empty",
)
VERDICT = Column("verdict", lambda group: _text(against_baseline(group)), is_text=True, hidden="empty")
TARGET = Column("time to\ntarget s", _time_to_target, "time_to_target_seconds")
WAITING = _plain("waiting\n%", "wait_fraction", scale=100)
CPU = _plain("CPU\nseconds", "cpu_seconds")
ACCEPTED = _plain("accepted\n%", "accepted_fraction", scale=100, hidden="empty")
MEMORY = _plain("MiB above\nidle/worker", "memory_above_idle_bytes", scale=1 / MEBIBYTE)
WORK = _plain("work\n/sample", "relative_work", hidden="same")
SAMPLES = _plain("samples\n/update", "samples_per_update", hidden="same")
GRADIENTS = _plain("gradients\n/update", "gradients_per_update", hidden="same")
FLOPS = _plain("GFLOP\n/step", "flops_per_step", scale=1e-9, hidden="empty")
SETTINGS = Column("settings", lambda group: group["settings"], is_text=True, hidden="same")
STATUSES = Column("runs", lambda group: group["statuses"], is_text=True)

REPORT = [
    MODE,
    AGGREGATION,
    SETTINGS,
    WORKERS,
    *LINK,
    Column("threads", lambda group: str(group["threads_per_worker"]), "threads_per_worker", hidden="same"),
    ACCURACY,
    VALIDATION,
    SECONDS,
    PREDICTED,
    SPEED_UP,
    EFFICIENCY,
    SERIAL_FRACTION,
    VERDICT,
    TARGET,
    WAITING,
    _plain("compute/\ncommunication", "compute_to_communication", hidden="empty"),
    _plain("MiB sent\n/step", "sent_bytes_per_step", scale=1 / MEBIBYTE),
    CPU,
    SAMPLES,
    GRADIENTS,
    FLOPS,
    WORK,
    MEMORY,
    ACCEPTED,
    STATUSES,
]
COMPARISON = [
    MODE,
    replace(AGGREGATION, hidden="same"),
    SETTINGS,
    WORKERS,
    *LINK,
    ACCURACY,
    VALIDATION,
    SECONDS,
    SPEED_UP,
    VERDICT,
    TARGET,
    WAITING,
    _plain("MiB\nsent", "sent_bytes", scale=1 / MEBIBYTE),
    WORK,
    MEMORY,
    ACCEPTED,
    replace(STATUSES, hidden="same"),
]
