"""Equal budgets: as many trials for every way of training, on data and seeds that no report uses."""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError

from layerpar.errors import UserError, require

Settings = tuple[str, ...]
"""Overrides, such as `optimizer.lr=0.1`."""

FILE = "chosen.yaml"
HEADER = """\
# Settings that layerpar compare experiment=tune has chosen for every way of training, by as many trials each.
# To report with them, on seeds that have not chosen: layerpar compare chosen={} dataset=…
"""


@dataclass(frozen=True)
class Trial:
    """A run that was one of several to choose from.

    Attributes:
        variant: The way of training.
        own: Its overrides.
        settings: What was tried beside them.
        seed: The run's.
        score: Its number; see `layerpar.optimized`.
        done: Whether it ended well.
    """

    variant: str
    own: Settings
    settings: Settings
    seed: int
    score: float
    done: bool


def points(grid: Mapping[str, Sequence[Any]], count: int, *, name: str) -> list[Settings]:
    """So many points of a grid, in its order; of a larger one they are drawn, the same ones each time.

    Args:
        grid: The values to try of every key.
        count: The trials that every way of training has.
        name: Whose they are, for errors.

    Raises:
        UserError: the grid has fewer.
    """
    every = list(product(*([f"{key}={_text(value)}" for value in values] for key, values in grid.items())))
    require(
        len(every) >= count,
        f"tune.search.{name} has {len(every)} settings, and tune.trials={count} asks for more; "
        f"add values, or try tune.trials={len(every)}",
    )
    return [every[index] for index in sorted(Random(0).sample(range(len(every)), count))]


def choose(trials: Iterable[Trial], *, larger: bool) -> dict[str, Settings]:
    """The best settings of every variant by the mean over its seeds; of equals those that come first.

    A variant of which no trial ended well is left out, and one whose best mean is infinite: a target that
    was never reached chooses nothing.
    """
    means = _means(trials)
    best = {
        variant: max(tried, key=lambda settings: tried[settings] if larger else -tried[settings])
        for variant, tried in means.items()
        if any(trial.done for trial in trials if trial.variant == variant)
    }
    return {variant: own for variant, own in best.items() if math.isfinite(means[variant][own])}


def at_the_edge(chosen: Settings, tried: Iterable[Settings]) -> Settings:
    """Those chosen settings whose number is the smallest or largest of at least three that were tried."""
    found = []
    for setting in chosen:
        key, _, value = setting.partition("=")
        every = [other.partition("=") for settings in tried for other in settings]
        values = {other for name, _, other in every if name == key}
        try:
            numbers = sorted(map(float, values))
        except ValueError:
            continue
        if len(numbers) >= 3 and float(value) in (numbers[0], numbers[-1]):
            found.append(setting)
    return tuple(found)


def record(
    folder: Path, trials: Sequence[Trial], *, metric: str, larger: bool, same: Mapping[str, str]
) -> list[str]:
    """Write `trials.csv` and `chosen.yaml`, and say in lines for people what was chosen.

    Args:
        folder: Where to.
        trials: All of them.
        metric: What `score` is, in words.
        larger: Whether larger is better.
        same: Variants that take what was chosen for another one.
    """
    means, chosen = _means(trials), choose(trials, larger=larger)
    with (folder / "trials.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["variant", "settings", "seed", "ended well", metric, "chosen"])
        for trial in trials:
            is_chosen = chosen.get(trial.variant) == trial.settings
            writer.writerow(
                [trial.variant, " ".join(trial.settings), trial.seed, trial.done, trial.score, is_chosen]
            )
    path = folder / FILE
    settings = {variant: list(best) for variant, best in chosen.items()}
    settings |= {variant: settings[other] for variant, other in same.items() if other in settings}
    content = {
        "metric": metric,
        "trials": max(len(tried) for tried in means.values()),
        "seeds": sorted({trial.seed for trial in trials}),
        "variants": {trial.variant: list(trial.own) for trial in trials},
        "settings": settings,
    }
    path.write_text(HEADER.format(path) + OmegaConf.to_yaml(OmegaConf.create(content)))
    lines = []
    for variant, tried in means.items():
        if variant not in chosen:
            ended_well = any(trial.done for trial in trials if trial.variant == variant)
            why = f"no settings always have a {metric}" if ended_well else "no trial ended well"
            lines.append(f"{variant}: {why}, so nothing is chosen")
            continue
        best = chosen[variant]
        line = f"{variant}: {' '.join(best)} · {metric} {tried[best]:.4g}, the best of {len(tried)}"
        edge = at_the_edge(best, tried)
        lines.append(line + (f"; at the edge of what was tried: {' '.join(edge)}" if edge else ""))
    return [*lines, f"chosen: {path}"]


def read_chosen(
    path: Path, *, seed: int, variants: Mapping[str, list[str]], without: Iterable[str]
) -> dict[str, list[str]]:
    """Every variant with what was chosen for it, those included that were tuned and are not listed.

    Args:
        path: What `record` has written.
        seed: Of the runs to come.
        variants: What is to be compared, with overrides.
        without: Variants that were left out.

    Raises:
        UserError: there is no such file, it has nothing for a variant, or this seed has helped to choose.
    """
    repair = "try one that layerpar compare experiment=tune has written"
    require(path.is_file(), f"chosen={path} is no file; {repair}")
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, YAMLError) as error:
        raise UserError(f"chosen={path} cannot be read; {repair}") from error
    require(
        isinstance(content, dict) and {"settings", "seeds", "variants"} <= set(content),
        f"chosen={path} holds no chosen settings; {repair}",
    )
    require(
        seed not in content["seeds"],
        f"seed={seed} has helped to choose {path}; try seed={max(content['seeds']) + 1}",
    )
    tuned = {name: own for name, own in content["variants"].items() if name not in without}
    every = tuned | dict(variants)
    for variant in every:
        require(
            variant in content["settings"],
            f"chosen={path} has nothing for {variant}; leave it out with ~variants.{variant}",
        )
    return {variant: [*own, *content["settings"][variant]] for variant, own in every.items()}


def _means(trials: Iterable[Trial]) -> dict[str, dict[Settings, float]]:
    """Of every variant and its settings, in the order of the trials."""
    scores: dict[str, dict[Settings, list[float]]] = defaultdict(lambda: defaultdict(list))
    for trial in trials:
        scores[trial.variant][trial.settings].append(trial.score)
    return {
        variant: {settings: mean(values) for settings, values in tried.items()}
        for variant, tried in scores.items()
    }


def _text(value: Any) -> str:
    """A value as the command line takes it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
