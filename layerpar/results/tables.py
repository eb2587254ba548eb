"""Tables as text cells: what a person reads of the groups."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from layerpar.results.columns import COMPARISON, GRADIENTS, PREDICTED, REPORT, VERDICT, WORK, Column
from layerpar.results.groups import by_task, summarise
from layerpar.results.load import Runs
from layerpar.results.speedup import BASELINE, RULE, SCALED_RULE
from layerpar.results.verdicts import conclusion
from layerpar.results.words import CONTENDED, NOTHING, compact, counted

INTERVAL = "±: half of the 95 % confidence interval of a mean over {seeds} (Student's t)"
VERDICTS = (
    "verdict: against the {baseline} runs of the same seeds, where the mean difference exceeds its 95 % "
    "confidence interval; else level"
)
SIMULATED = (
    "predicted seconds: no measurement; simulated, from the layer times that runs recorded, over {link} "
    "(layerpar predict --help)"
)
COUNTED = (
    "{columns}: matrix products and convolutions of all workers, forward and backward, in units of one "
    "sample's gradient in the whole network"
)


@dataclass(frozen=True)
class Table:
    """One table for people.

    Attributes:
        title: What all rows have in common.
        columns: The columns that are shown.
        rows: The cells, a row per group.
        conclusion: What came out, in a sentence; None where there is nothing to compare.
        notes: What must be said under it.
        keys: What the cells are sorted by, a row per group.
    """

    title: str
    columns: list[Column]
    rows: list[list[str]]
    conclusion: str | None = None
    notes: list[str] = field(default_factory=list)
    keys: list[list[Any]] = field(default_factory=list)

    @property
    def heads(self) -> list[str]:
        """The columns' titles, each on one line."""
        return [
            column.title.replace("/\n", "/").replace("\n/", "/").replace("\n", " ") for column in self.columns
        ]


def report_tables(runs: Runs, *, baseline: str = BASELINE) -> list[Table]:
    """A table per data set and architecture, a row per group.

    Raises:
        UserError: no run is of that baseline.
    """
    tables = _tables(summarise(runs, baseline=baseline), REPORT, baseline)
    if any(PREDICTED in table.columns for table in tables):
        tables[-1].notes.append(SIMULATED.format(link=runs.summaries["predicted_link"].iloc[0]))
    return tables


def comparison_tables(runs: Runs) -> list[Table]:
    """What `compare` ends with: fewer columns, the first to the target on top, then the fastest."""
    fastest_first = summarise(runs).sort_values(["time_to_target_seconds", "train_seconds"], kind="stable")
    return _tables(fastest_first, COMPARISON, BASELINE)


def _tables(groups: pd.DataFrame, columns: list[Column], baseline: str) -> list[Table]:
    tables = [_table(task, columns) for task in by_task(groups)]
    notes = tables[-1].notes
    if groups["speed_up"].notna().any():
        notes.append(RULE.format(baseline=baseline))
    if groups["scaled"].any():
        notes.append(SCALED_RULE.format(baseline=baseline))
    if any(VERDICT in table.columns for table in tables):
        notes.append(VERDICTS.format(baseline=baseline))
    shown = [column for column in (GRADIENTS, WORK) if any(column in table.columns for table in tables)]
    if shown:
        notes.append(COUNTED.format(columns=" and ".join(column.title.replace("\n", "") for column in shown)))
    counts = sorted({int(count) for count in groups["num_seeds"] if count > 1})
    if counts:
        seeds = counted(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
        notes.append(INTERVAL.format(seeds=seeds))
    return tables


def _table(groups: pd.DataFrame, columns: list[Column]) -> Table:
    records = groups.to_dict("records")
    cells = {column.title: [column.cell(group) for group in records] for column in columns}
    shown = [column for column in columns if _is_shown(column, cells[column.title])]
    rows = [list(row) for row in zip(*(cells[column.title] for column in shown), strict=True)]
    keys = [
        [cell if column.key is None else group[column.key] for column, cell in zip(shown, row, strict=True)]
        for group, row in zip(records, rows, strict=True)
    ]
    return Table(task_title(groups), shown, rows, conclusion(groups), _notes(records), keys)


def _is_shown(column: Column, cells: list[str]) -> bool:
    most = {"never": -1, "empty": 0, "same": 1}[column.hidden]
    return len({*cells} - {NOTHING}) > most


def task_title(groups: pd.DataFrame) -> str:
    """What all groups of a task have in common, where they do."""
    first = groups.iloc[0]
    sizes = [f"{key} {first[key]:g}" for key in ("depth", "width") if not pd.isna(first[key])]
    counts = groups["num_parameters"].dropna().unique()
    if len(counts) == 1:
        sizes.append(f"{compact(counts[0])} parameters")
    budget = []
    for key, words in (
        ("epochs", lambda count: counted(count, "epoch")),
        ("batch_size", "batch size {}".format),
        ("target_accuracy", "target {:.2%}".format),
        ("threads_per_worker", lambda count: f"{counted(count, 'thread')} per worker"),
    ):
        values = groups[key].dropna().unique()
        budget += [words(values[0])] if len(values) == 1 else []
    machines = [str(machine) for machine in groups["hardware"].dropna().unique()]
    return "; ".join(
        [", ".join([first["dataset"], first["architecture"], *sizes]), ", ".join(budget), *machines]
    )


def _notes(records: list[dict[Hashable, Any]]) -> list[str]:
    notes = []
    for group in records:
        named = ", ".join(
            part for part in (group["label"], counted(group["workers"], "worker"), group["settings"]) if part
        )
        notes += [f"no speed-up of {named}: {reason}" for reason in group["speed_up_missing"]]
    if any(group["contended"] or group["speed_up_contended"] for group in records):
        notes.append(f"* contended: {CONTENDED}; do not quote these seconds")
    units = [group for group in records if group["is_unit"] and group["settings"]]
    notes += [f"the unit of speed-up: {unit['label']}, {unit['settings']}" for unit in units]
    return notes + [message for group in records for message in group["messages"]]
