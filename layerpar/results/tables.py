"""Tables as text cells: what a person reads of the lines."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from layerpar.results.cells import COMPARISON, NOTHING, REPORT, Column, compact
from layerpar.results.lines import groups, summarise
from layerpar.results.speedup import RULE, with_speed_up

CONTENDED = "* contended: more threads than cores, or workers that share a GPU; do not quote these seconds"


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


def _tables(lines: pd.DataFrame, columns: list[Column], baseline: str) -> list[Table]:
    tables = [_table(group, columns, baseline) for group in groups(lines)]
    if lines["speed_up"].notna().any():
        tables[-1].notes.append(RULE.format(baseline=baseline))
    return tables


def _table(lines: pd.DataFrame, columns: list[Column], baseline: str) -> Table:
    records = lines.to_dict("records")
    cells = {column.title: [column.cell(line) for line in records] for column in columns}
    shown = [
        column for column in columns if not column.optional or len({*cells[column.title]} - {NOTHING}) > 1
    ]
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
