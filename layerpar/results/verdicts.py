"""When a difference between two ways of training counts: where it exceeds its own error over the seeds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
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
    contended runs, its own or the baseline's, are no ground for a verdict.
    """
    if group["is_unit"] or group["scaled"]:
        return None
    words = []
    speed = Difference(group["speed_up"] - 1, group["speed_up_ci95"], group["speed_up_count"])
    found = None if group["speed_up_contended"] else speed.verdict(less="slower", more="faster")
    if found is not None:
        words.append("level speed" if found == LEVEL else found)
    accuracy = Difference(*(group[f"accuracy_difference{suffix}"] for suffix in ("", "_ci95", "_count")))
    found = accuracy.verdict(less="less accurate", more="more accurate")
    if found is not None:
        words.append("level accuracy" if found == LEVEL else found)
    return ", ".join(words) or None


def conclusion(groups: pd.DataFrame) -> str | None:
    """What came out, in a sentence: the fastest (to the target), by how much, and whether that counts.

    Goes by the seeds that all ways have in common; None where there are none.

    Args:
        groups: Ways of doing the same work, as `summarise` gives them.
    """
    finished = groups[groups["num_done"] > 0]
    timed = finished[~finished["contended"]]
    targets = timed["target_accuracy"].dropna().unique()
    alike = timed["work"].nunique() == 1 and timed["target_accuracy"].nunique(dropna=False) == 1
    if len(timed) < 2 or not alike:
        return None
    measure = "time_to_target_seconds" if len(targets) else "train_seconds"
    ways = timed.to_dict("records")
    seconds = _of_common_seeds(ways, measure)
    if not seconds[0]:
        return None
    ranked = sorted(zip(ways, seconds, strict=True), key=lambda way: fmean(way[1].values()))
    left_out = " Contended ways are left out." if len(timed) < len(finished) else ""
    target = f"{targets[0]:.2%}" if len(targets) else None
    return _sentence([(_name(way, timed), by_seed) for way, by_seed in ranked[:2]], target) + left_out


def _of_common_seeds(groups: Sequence[Mapping[Hashable, Any]], measure: str) -> list[dict[int, float]]:
    """A measure of every group by seed, over the seeds for which all have it."""
    values = [
        {seed: found[measure] for seed, found in group["by_seed"].items() if not math.isnan(found[measure])}
        for group in groups
    ]
    common = sorted(set.intersection(*map(set, values)))
    return [{seed: by_seed[seed] for seed in common} for by_seed in values]


def _sentence(ranked: list[tuple[str, dict[int, float]]], target: str | None) -> str:
    """Of the first two ways, by name and seconds of every seed."""
    (first, own), (second, other) = ranked
    seconds, longer = fmean(own.values()), fmean(other.values())
    if not math.isfinite(seconds):
        return f"No way of training always reaches {target}."
    begin = f"Fastest{f' to {target}' if target else ''}: {first}, {number(seconds)} s"
    if math.isinf(longer):
        return f"{begin}; no other always gets there."
    ahead = f"{begin}; next: {second}, {number(longer)} s ({longer / seconds:.2f} times as long)"
    difference = paired_difference(other, own)
    verdict = difference.verdict(less="behind", more="ahead")
    if verdict is None:
        return f"{ahead}. With fewer than two seeds of both, it may be chance."
    over = f"over {counted(difference.num_pairs, 'seed')}"
    if verdict == LEVEL:
        return f"{ahead}. The difference is within its 95 % interval {over}: level."
    return f"{ahead}. The difference exceeds its 95 % interval {over}."


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
