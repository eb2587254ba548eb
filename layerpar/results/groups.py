"""Groups of runs that differ in their seed only: the rows of a table, as means with their spread."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from layerpar.results.load import Runs
from layerpar.results.settings import describe, differing, group_key
from layerpar.results.speedup import BASELINE, with_speed_up, work
from layerpar.results.verdicts import half_width

TASK = ["dataset", "architecture", "depth", "width"]
"""What the rows of a table have in common."""

VISIBLE = ["label", "aggregation", "workers", "threads_per_worker"]
"""What a row shows of itself; where that is not enough, `settings` tells it from the others."""

MEASURES = [
    "test_accuracy",
    "best_test_accuracy",
    "validation_accuracy",
    "accuracy_difference",
    "train_seconds",
    "predicted_seconds",
    "samples_per_second",
    "speed_up",
    "efficiency",
    "serial_fraction",
    "time_to_target_seconds",
    "wait_fraction",
    "compute_to_communication",
    "cpu_seconds",
    "sent_bytes",
    "sent_bytes_per_step",
    "peak_memory_bytes",
    "memory_above_idle_bytes",
    "accepted_fraction",
    "samples_per_update",
    "gradients_per_update",
    "relative_work",
    "flops_per_step",
    "latency_microseconds",
    "bandwidth_gigabits",
]

IDENTITY = [
    *TASK,
    "num_parameters",
    "num_blocks",
    "mode",
    "label",
    "order",
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
    "nodes",
]


def summarise(runs: Runs, *, baseline: str = BASELINE) -> pd.DataFrame:
    """One row per group of runs that differ in their seed only, in the order of tasks and then modes.

    Each of `MEASURES` is the mean over the seeds that have it (of finished runs; `time_to_target_seconds`
    also counts diverged ones, as infinite; runs with the same seed are one value, their mean), beside
    `…_std`, the sample standard deviation (NaN below two seeds or where one is infinite), `…_ci95`, half of
    the mean's 95 % confidence interval, and `…_count`, the seeds. Further
    columns: those of `IDENTITY`, `settings` (what tells the group from others that look alike), `num_runs`,
    `statuses` such as `2 done, 1 diverged`, `num_done`, `num_seeds` (with a finished run), `num_reached`
    (seeds that always reached the target), `contended`, `speed_up_contended` (it, or what it is measured
    against), `is_unit`, `scaled` (speed-up is that of weak scaling), `messages`, `speed_up_missing`, `work`
    (groups with the same can be compared) and `by_seed`: for each seed, the measures.

    Args:
        runs: As `load` gives them.
        baseline: A mode or a label, that speed-up is measured against.

    Raises:
        UserError: no run is of that baseline, and it is not serial.
    """
    rows = with_speed_up(_with_accepted(runs), baseline=baseline)
    if "predicted_seconds" not in rows:
        rows = rows.assign(predicted_seconds=math.nan)
    keys = [group_key(settings) for settings in rows["settings"]]
    group = pd.Series(pd.factorize(pd.Series(keys, dtype=object))[0], index=rows.index)
    done = rows["status"] == "done"
    measured = rows[MEASURES].astype(float)
    of_finished = [measure for measure in MEASURES if measure != "time_to_target_seconds"]
    measured[of_finished] = measured[of_finished].where(done)
    of_seeds = measured.groupby([group, rows["seed"]], dropna=False).mean()
    groups = rows[IDENTITY].groupby(group).first().join(_means(of_seeds))
    members = rows.groupby(group)
    for column in ("num_parameters", "num_blocks"):
        groups[column] = groups[column].astype("Int64")
    groups["num_runs"] = members.size()
    groups["num_done"] = done.groupby(group).sum()
    groups["num_seeds"] = rows["seed"].where(done).groupby(group).nunique()
    groups["num_reached"] = of_seeds["time_to_target_seconds"].map(math.isfinite).groupby(level=0).sum()
    groups["work"] = members["settings"].first().map(_work)
    groups["contended"] = members["contended"].any()
    groups["speed_up_contended"] = members["speed_up_contended"].any()
    groups["is_unit"] = members["is_unit"].any()
    groups["scaled"] = members["scaled"].any()
    groups["statuses"] = members["status"].agg(_statuses)
    for column, source in (
        ("messages", _messages(rows)),
        ("speed_up_missing", rows["speed_up_missing"].where(done)),
    ):
        groups[column] = source.groupby(group).agg(lambda texts: list(dict.fromkeys(texts.dropna())))
    by_seed = [of_seeds.loc[number].to_dict("index") for number in groups.index]
    groups["by_seed"] = pd.Series(by_seed, index=groups.index, dtype=object)
    groups["settings"] = _disambiguated(groups, members["settings"].first())
    by = [*TASK, "order", "label", "aggregation", "workers", "threads_per_worker", "settings"]
    return groups.sort_values(by, na_position="first", kind="stable").reset_index(drop=True)


def by_task(groups: pd.DataFrame) -> list[pd.DataFrame]:
    """The groups of each data set and architecture (with its depth and width), in order."""
    return [task for _, task in groups.groupby(TASK, sort=False, dropna=False)]


def _work(settings: dict[str, Any]) -> frozenset[tuple[str, Any]]:
    """What runs have in common whose seconds can be compared, whatever their seeds."""
    return frozenset(item for item in work(settings) if item[0] != "seed")


def _with_accepted(runs: Runs) -> pd.DataFrame:
    """The runs with `accepted_fraction`: the share of its steps that a trust region took, NaN for others."""
    logged = "aggregation/accepted_fraction"
    if logged not in runs.evaluations:
        return runs.summaries.assign(accepted_fraction=math.nan)
    last = runs.evaluations.groupby("path")[logged].last()
    return runs.summaries.assign(accepted_fraction=runs.summaries["path"].map(last))


def _means(of_seeds: pd.DataFrame) -> pd.DataFrame:
    """Over the seeds of every group; repeats with one seed are one value, since most repeat to the bit."""
    grouped = of_seeds.groupby(level=0)
    mean, count = grouped.mean(), grouped.count()
    finite = of_seeds.where(of_seeds.abs() != math.inf).groupby(level=0)
    std = finite.std().where(mean.abs() != math.inf)
    ci95 = std.combine(count, lambda one, two: pd.Series(map(half_width, one, two), index=one.index))
    return mean.join([std.add_suffix("_std"), ci95.add_suffix("_ci95"), count.add_suffix("_count")])


def _disambiguated(groups: pd.DataFrame, settings: pd.Series[Any]) -> pd.Series[str]:
    """For groups of a task that look alike, the settings in which they differ."""
    told = pd.Series("", index=groups.index, dtype=object)
    shown = {"seed", "workers", "threads_per_worker", "aggregation.name", "objective.name", "phases"}
    for _, alike in groups.groupby([*TASK, *VISIBLE], dropna=False):
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
    ended_badly = ~runs["status"].isin(["done", "running", "created"])
    reasons = runs["message"].map(lambda text: ": " + " ".join(text.split()) if isinstance(text, str) else "")
    return (runs["status"] + ": " + runs["path"] + reasons).where(ended_badly).astype(object)
