"""When a difference between two ways of training counts: where it exceeds its own error over the seeds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import pandas as pd
from scipy.special import stdtrit

from layerpar.results.words import counted, number

LEVEL = "level"


def half_width(std: float, count: int) -> float:
    """Half of the 95 % confidence interval of a mean (Student's t); NaN below two values."""
    return float(stdtrit(count - 1, 0.975)) * std / math.sqrt(count) if count > 1 else math.nan


@dataclass(frozen=True)
class Difference:
    """A mean difference of pairs.

    Attributes:
        mean: Of one way minus the other.
        half_width: Half of its 95 % confidence interval; NaN below two pairs.
        num_pairs: Pairs of runs with the same seed.
    """

    mean: float
    half_width: float
    num_pairs: int

    def verdict(self, *, less: str, more: str) -> str | None:
        """`more` or `less` where the difference exceeds its error, else `level`; None below two pairs."""
        if self.num_pairs < 2 or math.isnan(self.half_width):
            return None
        if abs(self.mean) <= self.half_width:
            return LEVEL
        return more if self.mean > 0 else less


def paired_difference(own: Mapping[int, float], other: Mapping[int, float]) -> Difference:
    """Of the values of two ways by seed; infinite minus infinite is 0."""
    pairs = [(own[seed], other[seed]) for seed in own.keys() & other.keys()]
    values = [0.0 if one == two else one - two for one, two in pairs if one == one and two == two]
    if not values:
        return Difference(math.nan, math.nan, 0)
    infinite = {value for value in values if math.isinf(value)}
    if infinite:
        always = len(infinite) == 1 and all(math.isinf(value) for value in values)
        return Difference(infinite.pop(), 0.0, len(values)) if always else Difference(0.0, 0.0, len(values))
    std = stdev(values) if len(values) > 1 else math.nan
    return Difference(fmean(values), half_width(std, len(values)), len(values))


def compare(own: Mapping[Hashable, Any], other: Mapping[Hashable, Any], measure: str) -> Difference:
    """How much larger a measure of one group is than of another, seed by seed.

    Args:
        own: A row of `layerpar.results.groups.summarise`.
        other: Another.
        measure: One of its `MEASURES`.
    """
    values = [
        {seed: measured[measure] for seed, measured in group["by_seed"].items()} for group in (own, other)
    ]
    return paired_difference(*values)


def against_baseline(group: Mapping[Hashable, Any]) -> str | None:
    """Speed and accuracy beside the baseline's runs of the same seeds, such as `faster, level accuracy`.

    None for the baseline itself, for other amounts of work, and below two seeds (not runs). Seconds of
    contended runs are no ground for a verdict.
    """
    if group["is_unit"] or group["scaled"]:
        return None
    words = []
    speed = Difference(group["speed_up"] - 1, group["speed_up_ci95"], group["speed_up_count"])
    found = None if group["contended"] else speed.verdict(less="slower", more="faster")
    if found is not None:
        words.append("level speed" if found == LEVEL else found)
    accuracy = Difference(*(group[f"accuracy_difference{suffix}"] for suffix in ("", "_ci95", "_count")))
    found = accuracy.verdict(less="less accurate", more="more accurate")
    if found is not None:
        words.append("level accuracy" if found == LEVEL else found)
    return ", ".join(words) or None


def conclusion(groups: pd.DataFrame) -> str | None:
    """What came out, in a sentence: the fastest (to the target), by how much, and whether that counts.

    Args:
        groups: Ways of doing the same work, as `summarise` gives them.
    """
    finished = groups[(groups["num_done"] > 0) & ~groups["contended"]]
    targets = finished["target_accuracy"].dropna().unique()
    alike = finished["work"].nunique() == 1 and finished["target_accuracy"].nunique(dropna=False) == 1
    if len(finished) < 2 or not alike:
        return None
    measure = "time_to_target_seconds" if len(targets) else "train_seconds"
    first, second = finished.sort_values(measure, kind="stable").head(2).to_dict("records")
    seconds, longer = first[measure], second[measure]
    if not math.isfinite(seconds):
        return f"No way of training always reaches {targets[0]:.2%}." if len(targets) else None
    what = f"Fastest to {targets[0]:.2%}" if len(targets) else "Fastest"
    begin = f"{what}: {_name(first, finished)}, {number(seconds)} s"
    if math.isinf(longer):
        return f"{begin}; no other always gets there."
    ahead = (
        f"{begin}; next: {_name(second, finished)}, {number(longer)} s ({longer / seconds:.2f} times as long)"
    )
    difference = compare(second, first, measure)
    verdict = difference.verdict(less="", more="ahead")
    if verdict is None:
        return f"{ahead}. With fewer than two seeds of both, it may be chance."
    over = f"over {counted(difference.num_pairs, 'seed')}"
    if verdict == "ahead":
        return f"{ahead}. The difference exceeds its 95 % interval {over}."
    return f"{ahead}. The difference is within its 95 % interval {over}: level."


def _name(group: Mapping[Hashable, Any], groups: pd.DataFrame) -> str:
    """Its label, and what tells it from the other groups with that label."""
    alike = groups[groups["label"] == group["label"]]
    own = {
        "aggregation": str(group["aggregation"]),
        "workers": counted(group["workers"], "worker"),
        "threads_per_worker": counted(group["threads_per_worker"], "thread"),
    }
    told = [words for column, words in own.items() if alike[column].nunique(dropna=False) > 1]
    return ", ".join(part for part in (group["label"], *told, group["settings"]) if part)
