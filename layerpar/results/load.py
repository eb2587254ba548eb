"""Run directories as data frames: one row a run, one row an evaluation."""

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
from layerpar.results.settings import group_key

OWN_FOLDERS = {".hydra", "checkpoint", "logs", "logger", "figures"}
"""Folders that belong to a run or a sweep, and hold no runs."""


@dataclass(frozen=True)
class Runs:
    """What was found below some directories.

    Attributes:
        summaries: A row per run, whatever became of it. Columns, beside the keys of `summary.json`:

            - `status`: done, failed, diverged, interrupted, refused, stopped, running or created;
            - `time_to_target_seconds`: infinite where the target was never reached, NaN where there was none;
            - `wait_fraction`: share of all workers' seconds spent waiting for a peer;
            - `compute_to_communication`: busy seconds ÷ (waiting + exchanging seconds);
            - `cpu_seconds`: processor seconds of all workers in the training segments;
            - `sent_bytes`, `sent_bytes_per_step`: of all workers;
            - `peak_memory_bytes`: of the worker that took most;
              `memory_above_idle_bytes`: the same, less what a worker takes before data and network;
            - `samples_per_update`: samples over which one optimizer step averages gradients;
            - `gradients_per_update`: gradient evaluations of all workers for an update of the common weights,
              in units of the floating-point operations of one sample's gradient in the whole network;
            - `relative_work`: the same for each sample of a step: 1 for plain backpropagation;
            - `flops_per_step`: floating-point operations of all workers in matrix products and convolutions;
              these three are missing where steps are not alike, as of `sequential`;
            - `nodes`; `latency_microseconds` and `bandwidth_gigabits`: of the link between them, as measured
              when the run began; None for one node;
            - `precision`, `device`, `hardware`, `message`, `path`;
            - `settings`: the settings that took effect, flat.
        evaluations: A row per evaluation: `path` of the run, `epoch`, `step`, `train_seconds`,
            `gradient_evaluations` of all workers so far, `accuracy` and `loss` on the `split` that each epoch
            is scored on (`validation` where the run holds samples out, else `test`), `train_loss`, and what
            its mode logs, such as `block/0/loss`.
        phases: A row per start of a phase: `path`, `name`, `epoch`, `train_seconds`, `gradient_evaluations`;
            none of runs without phases.
        skipped: A line per directory that was not read, and why.
    """

    summaries: pd.DataFrame
    evaluations: pd.DataFrame
    phases: pd.DataFrame
    skipped: list[str]


def find_run_directories(directories: Sequence[Path]) -> list[Path]:
    """Every run directory at or below these, links followed, each once, by path.

    Raises:
        UserError: a directory does not exist.
    """
    found: dict[Path, Path] = {}
    for directory in directories:
        if not directory.is_dir():
            raise UserError(f"{directory} is not a directory; try outputs")
        for root in _below(directory, seen=set()):
            found.setdefault(root.resolve(), root)
    return sorted(found.values())


def _below(directory: Path, *, seen: set[Path]) -> Iterator[Path]:
    """Folders that hold a file of a run, down to where links lead back to."""
    files = RunDirectory(directory)
    marks = {path.name for path in (files.run_yaml, files.status, files.summary)}
    for folder, folders, names in os.walk(directory, followlinks=True):
        real = Path(folder).resolve()
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if name not in OWN_FOLDERS]
        if marks.intersection(names):
            yield Path(folder)


def load(directories: Sequence[Path]) -> Runs:
    """Read every run at or below these directories; corrupt and half-written ones are skipped and named.

    Raises:
        UserError: a directory does not exist, or no run at all could be read.
    """
    rows: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    skipped: list[str] = []
    for root in find_run_directories(directories):
        try:
            row = read_run(root)
            events += read_events(root, epochs=row["epochs"] if row["status"] == "done" else None)
        except UnreadableError as error:
            skipped.append(f"{root}: {error}")
        else:
            rows.append(row)
    if not rows:
        named = ", ".join(map(str, directories))
        reason = f" ({skipped[0]})" if skipped else ""
        raise UserError(f"no readable run at or below {named}{reason}; try outputs")
    _place(rows)
    return Runs(
        summaries=pd.DataFrame(rows),
        evaluations=_evaluations(events),
        phases=_frame(events, "phase", ["path", "name", "epoch", "train_seconds", "gradient_evaluations"]),
        skipped=skipped,
    )


def _evaluations(events: list[dict[str, Any]]) -> pd.DataFrame:
    """The evaluations, with `accuracy`, `loss` and the `split` they were measured on."""
    scored = []
    for event in events:
        split = "validation" if "validation_accuracy" in event else "test"
        scores = {name: event.get(f"{split}_{name}") for name in ("accuracy", "loss")}
        scored.append(event | scores | {"split": split})
    return _frame(scored, "evaluate", ["path", "step", "epoch", "train_seconds", "accuracy", "loss", "split"])


def _frame(events: list[dict[str, Any]], event: str, columns: list[str]) -> pd.DataFrame:
    """The events of a kind; with these columns where there are none."""
    rows = [line for line in events if line.get("event") == event]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)


def _place(rows: list[dict[str, Any]]) -> None:
    """Add where it ran to a run's settings; one that ended before it said so ran where its like did.

    Where there are none like it, it ran where all others did, if that was one machine.
    """
    known: dict[tuple[Any, ...], tuple[Any, Any]] = {}
    for row in rows:
        if row["hardware"] is not None:
            known.setdefault(group_key(row["settings"]), (row["device"], row["hardware"]))
    machines = set(known.values())
    everywhere = machines.pop() if len(machines) == 1 else None
    for row in rows:
        if row["hardware"] is None:
            unknown = everywhere or (row["device"], None)
            row["device"], row["hardware"] = known.get(group_key(row["settings"]), unknown)
    for row in rows:
        row["settings"] = row["settings"] | {"device": row["device"], "hardware": row["hardware"]}
