"""Run directories as two data frames: one row a run, one row an evaluation."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from layerpar.errors import UserError
from layerpar.paths import RunDirectory
from layerpar.results.files import UnreadableError
from layerpar.results.read import read_events, read_run


@dataclass(frozen=True)
class Results:
    """What was found below some directories.

    Attributes:
        runs: A row per run, whatever became of it: the keys of `summary.json`, then `label`, `width`,
            `precision`, `hardware`, `wait_fraction`, `sent_bytes`, `sent_bytes_per_step`,
            `peak_memory_bytes` (the largest of its workers), `path`, `message`, and `settings` (its flat
            configuration). `time_to_target_seconds` is infinite where the target was never reached, NaN
            where there was none.
        evaluations: A row per evaluation: the keys of its line in `metrics.jsonl`, and the run's `path`.
        phases: Alike, a row per start of a phase; none of runs without phases.
        problems: A line per directory that was skipped, and why.
    """

    runs: pd.DataFrame
    evaluations: pd.DataFrame
    phases: pd.DataFrame
    problems: list[str]


def find_run_directories(directories: Sequence[Path]) -> list[Path]:
    """Every run directory at or below these, each once, by path.

    Raises:
        UserError: a directory does not exist.
    """
    found: dict[Path, Path] = {}
    for directory in directories:
        if not directory.is_dir():
            raise UserError(f"{directory} is not a directory; try outputs")
        for root in _below(directory):
            found.setdefault(root.resolve(), root)
    return sorted(found.values())


def _below(directory: Path) -> Iterator[Path]:
    files = RunDirectory(directory)
    marks = {path.name for path in (files.run_yaml, files.status, files.summary)}
    for root, folders, names in os.walk(directory):
        if marks.intersection(names):
            folders.clear()
            yield Path(root)


def load(directories: Sequence[Path]) -> Results:
    """Read every run at or below these directories; corrupt and half-written ones become problems.

    Raises:
        UserError: a directory does not exist, or no run at all could be read.
    """
    rows: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    problems: list[str] = []
    for root in find_run_directories(directories):
        try:
            row = read_run(root)
            events += read_events(root, finished=row["status"] == "done")
        except UnreadableError as error:
            problems.append(f"{root}: {error}")
        else:
            rows.append(row)
    if not rows:
        named = ", ".join(map(str, directories))
        reason = f" ({problems[0]})" if problems else ""
        raise UserError(f"no readable run at or below {named}{reason}; try outputs")
    _place(rows)
    return Results(
        runs=pd.DataFrame(rows),
        evaluations=_frame(events, "evaluate", ["path", "step", "epoch", "train_seconds", "test_accuracy"]),
        phases=_frame(events, "phase", ["path", "name", "epoch", "train_seconds"]),
        problems=problems,
    )


def _frame(events: list[dict[str, Any]], event: str, columns: list[str]) -> pd.DataFrame:
    """The events of a kind; with these columns where there are none."""
    rows = [line for line in events if line["event"] == event]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)


def _place(rows: list[dict[str, Any]]) -> None:
    """Add where it ran to a run's settings; one that ended before it said so ran where its like did."""
    known: dict[tuple[Any, ...], tuple[Any, Any]] = {}
    for row in rows:
        if row["hardware"] is not None:
            known.setdefault(line_key(row["settings"]), (row["device"], row["hardware"]))
    for row in rows:
        if row["hardware"] is None:
            row["device"], row["hardware"] = known.get(line_key(row["settings"]), (row["device"], None))
    for row in rows:
        row["settings"] = row["settings"] | {"device": row["device"], "hardware": row["hardware"]}


def line_key(settings: dict[str, Any]) -> tuple[Any, ...]:
    """What the runs of one line of a table have in common: everything but the seed."""
    return tuple(sorted((key, value) for key, value in settings.items() if key != "seed"))
