"""The lines of a table: runs that differ in their seed only, as mean and deviation."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from layerpar.results.load import line_key
from layerpar.results.settings import describe, differing, mode_order

GROUP = ["dataset", "architecture", "depth", "width"]
"""What a table has in common."""

VISIBLE = ["label", "aggregation", "workers", "threads_per_worker"]
"""What a line shows of itself; where that is not enough, `settings` tells it from the others."""

MEASURES = [
    "test_accuracy",
    "best_test_accuracy",
    "train_seconds",
    "samples_per_second",
    "speed_up",
    "time_to_target_seconds",
    "wait_fraction",
    "sent_bytes",
    "sent_bytes_per_step",
    "peak_memory_bytes",
]

IDENTITY = [
    *GROUP,
    "num_parameters",
    "mode",
    "label",
    "objective",
    "aggregation",
    "workers",
    "threads_per_worker",
    "epochs",
    "batch_size",
    "target_accuracy",
    "precision",
    "device",
    "hardware",
]


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per line, in the order of groups and then modes.

    Each of `MEASURES` is the mean over the runs that have it (finished ones; `time_to_target_seconds` also
    counts diverged ones, as infinite), beside `…_std`, the sample deviation (NaN below two runs or where a
    run is infinite), and `…_count`. Further columns: those of `IDENTITY`, `settings` (what tells the line
    from others that look alike), `num_runs`, `statuses` such as `2 done, 1 diverged`, `num_done`,
    `num_reached` (runs that reached the target), `contended`, `messages` and `speed_up_missing`.

    Args:
        runs: As `with_speed_up` gives them.
    """
    keys = [line_key(settings) for settings in runs["settings"]]
    line = pd.Series(pd.factorize(pd.Series(keys, dtype=object))[0], index=runs.index)
    reached = runs["time_to_target_seconds"].map(math.isfinite)
    done = runs["status"] == "done"
    measured = runs[MEASURES].astype(float)
    of_finished = [measure for measure in MEASURES if measure != "time_to_target_seconds"]
    measured[of_finished] = measured[of_finished].where(done)
    grouped = measured.groupby(line)
    finite = measured.where(measured.abs() != math.inf).groupby(line)
    mean, count = grouped.mean(), grouped.count()
    std = finite.std().where(mean.abs() != math.inf)
    identity = runs[IDENTITY].groupby(line).first()
    lines = identity.join(mean).join(std.add_suffix("_std")).join(count.add_suffix("_count"))
    members = runs.groupby(line)
    lines["num_parameters"] = lines["num_parameters"].astype("Int64")
    lines["num_runs"] = members.size()
    lines["num_done"] = done.groupby(line).sum()
    lines["num_reached"] = reached.groupby(line).sum()
    lines["contended"] = members["contended"].any()
    lines["statuses"] = members["status"].agg(_statuses)
    for column, source in (
        ("messages", _messages(runs)),
        ("speed_up_missing", runs["speed_up_missing"].where(done)),
    ):
        lines[column] = source.groupby(line).agg(lambda texts: list(dict.fromkeys(texts.dropna())))
    lines["settings"] = _told_apart(lines, members["settings"].first())
    order = [mode_order(mode, label) for mode, label in zip(lines["mode"], lines["label"], strict=True)]
    lines["order"] = pd.Series(order, index=lines.index, dtype=object)
    by = [*GROUP, "order", "aggregation", "workers", "threads_per_worker", "settings"]
    return (
        lines.sort_values(by, na_position="first", kind="stable").drop(columns="order").reset_index(drop=True)
    )


def groups(lines: pd.DataFrame) -> list[pd.DataFrame]:
    """The lines of each data set and architecture (with its depth and width), in order."""
    return [group for _, group in lines.groupby(GROUP, sort=False, dropna=False)]


def _told_apart(lines: pd.DataFrame, settings: pd.Series[Any]) -> pd.Series[str]:
    """For lines of a group that look alike, the settings in which they differ."""
    told = pd.Series("", index=lines.index, dtype=object)
    shown = {"seed", "workers", "threads_per_worker", "aggregation.name", "objective.name", "phases"}
    for _, alike in lines.groupby([*GROUP, *VISIBLE], dropna=False):
        if len(alike) > 1:
            keys = differing([settings[index] for index in alike.index], ignore=shown)
            for index in alike.index:
                told[index] = describe(settings[index], keys)
    return told


def _statuses(statuses: pd.Series[str]) -> str:
    counts = statuses.value_counts(sort=False)
    done_first = sorted(counts.items(), key=lambda item: item[0] != "done")
    return ", ".join(f"{count} {status}" for status, count in done_first)


def _messages(runs: pd.DataFrame) -> pd.Series[Any]:
    ended_badly = runs["status"].isin(["failed", "diverged", "interrupted", "refused"])
    reasons = runs["message"].map(lambda text: ": " + " ".join(text.split()) if isinstance(text, str) else "")
    return (runs["status"] + ": " + runs["path"] + reasons).where(ended_badly).astype(object)
