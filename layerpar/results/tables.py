"""Tables as text cells: what a person reads of the lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from layerpar.results.lines import groups, summarise
from layerpar.results.speedup import RULE, with_speed_up

MEBIBYTE = 2**20
NOTHING = "-"
CONTENDED = "* contended: more threads than cores, or workers that share a GPU; do not quote these seconds"

Line = Mapping[Hashable, Any]


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        title: Its head; a line break where a narrow head has one.
        cell: The text for a line.
        is_text: Aligned left; numbers are aligned right.
        optional: Left out of a table in which all its cells are the same.
    """

    title: str
    cell: Callable[[Line], str]
    is_text: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Table:
    """One table for people.

    Attributes:
        title: What all lines have in common.
        columns: The columns that are shown.
        rows: The cells, a row per line.
        notes: What must be said under it.
    """

    title: str
    columns: list[Column]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)

    @property
    def heads(self) -> list[str]:
        """The columns' titles, each on one line."""
        return [column.title.replace("\n/", "/").replace("\n", " ") for column in self.columns]


def report_tables(runs: pd.DataFrame, *, baseline: str = "serial") -> list[Table]:
    """A table per data set and architecture, a row per line.

    Raises:
        UserError: no run is of that baseline.
    """
    return _tables(summarise(with_speed_up(runs, baseline=baseline)), REPORT, baseline)


def comparison_tables(runs: pd.DataFrame) -> list[Table]:
    """What `compare` ends with: fewer columns, the first to the target on top, then the fastest."""
    lines = summarise(with_speed_up(runs))
    fastest_first = lines.sort_values(["time_to_target_seconds", "train_seconds"], kind="stable")
    return _tables(fastest_first, COMPARISON, "serial")


def number(value: float, *, like: float | None = None) -> str:
    """Three significant digits or all before the point; `like` gives the decimals of another number."""
    if math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞"
    size = abs(value if like is None else like)
    decimals = 0 if size >= 100 or size == 0 else 1 if size >= 10 else 2
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


MODE = Column("mode", _mode, is_text=True)
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
    Column("aggregation", lambda line: _text(line["aggregation"]), is_text=True),
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
    SETTINGS,
    WORKERS,
    ACCURACY,
    SECONDS,
    SPEED_UP,
    Column("time to\ntarget s", _time_to_target, optional=True),
    WAITING,
    Column("MiB\nsent", lambda line: number(line["sent_bytes"] / MEBIBYTE)),
    MEMORY,
    Column("runs", lambda line: line["statuses"], is_text=True, optional=True),
]


def _tables(lines: pd.DataFrame, columns: list[Column], baseline: str) -> list[Table]:
    tables = [_table(group, columns, baseline) for group in groups(lines)]
    if lines["speed_up"].notna().any():
        tables[-1].notes.append(RULE.format(baseline=baseline))
    return tables


def _table(lines: pd.DataFrame, columns: list[Column], baseline: str) -> Table:
    records = lines.to_dict("records")
    cells = {column.title: [column.cell(line) for line in records] for column in columns}
    shown = [column for column in columns if not column.optional or len(set(cells[column.title])) > 1]
    rows = [list(row) for row in zip(*(cells[column.title] for column in shown), strict=True)]
    return Table(group_title(lines), shown, rows, _notes(records))


def group_title(lines: pd.DataFrame) -> str:
    """What all lines of a group have in common, where they do."""
    first = lines.iloc[0]
    sizes = [f"{key} {first[key]:g}" for key in ("depth", "width") if not pd.isna(first[key])]
    if not pd.isna(first["num_parameters"]):
        sizes.append(f"{compact(first['num_parameters'])} parameters")
    budget = []
    for key, words in (
        ("epochs", "{} epochs"),
        ("batch_size", "batch size {}"),
        ("target_accuracy", "target {:.2%}"),
    ):
        values = lines[key].dropna().unique()
        budget += [words.format(values[0])] if len(values) == 1 else []
    threads = lines["threads_per_worker"].unique()
    budget += [f"{threads[0]} thread{'' if threads[0] == 1 else 's'} per worker"] if len(threads) == 1 else []
    machines = [str(machine) for machine in lines["hardware"].dropna().unique()]
    return "; ".join(
        [", ".join([first["dataset"], first["architecture"], *sizes]), ", ".join(budget), *machines]
    )


def compact(count: float) -> str:
    """A count in thousands, millions or billions: `8.4M`."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.0f}"


def _text(value: Any) -> str:
    return NOTHING if value is None or value != value else str(value)


def _notes(records: list[dict[Hashable, Any]]) -> list[str]:
    notes = []
    for line in records:
        named = ", ".join(
            part for part in (line["label"], _plural(line["workers"]), line["settings"]) if part
        )
        notes += [f"no speed-up of {named}: {reason}" for reason in line["speed_up_missing"]]
    if any(line["contended"] for line in records):
        notes.append(CONTENDED)
    return notes + [message for line in records for message in line["messages"]]


def _plural(workers: int) -> str:
    return f"{workers} worker{'' if workers == 1 else 's'}"
