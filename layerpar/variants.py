"""What `layerpar compare` runs: the same work in several ways, all checked before any of it starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import env_override
from omegaconf import DictConfig, OmegaConf, open_dict

from layerpar.compose import in_one_line
from layerpar.composer import Composer
from layerpar.errors import UserError, require
from layerpar.tune import Settings, points, read_chosen

OWN_KEYS = ("variants", "tune", "chosen")
"""The keys of `compare` that are no part of a run."""


@dataclass(frozen=True)
class Variant:
    """One way of training to compare, or one trial of it.

    Attributes:
        label: Names it.
        name: Its key among `variants`.
        composed: Its whole configuration.
        own: What it changes of a train run.
        settings: What a trial tries beside that; None where nothing is to be chosen.
    """

    label: str
    name: str
    composed: DictConfig
    own: Settings
    settings: Settings | None = None


@dataclass(frozen=True)
class Planned:
    """One run to come.

    Attributes:
        root: Its directory.
        label: Names it on the screen.
        variant: What it is.
        environment: `hydra.job.env_set`.
        folder: The working directory.
    """

    root: Path
    label: str
    variant: Variant
    environment: Mapping[str, str]
    folder: Path

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """What Hydra sets up around a job, around this run."""
        with env_override(dict(self.environment)), chdir(self.folder):
            yield


def plan(
    composed: DictConfig, overrides: Sequence[str], root: Path, *, compose: Composer, prefix: str = ""
) -> list[Planned]:
    """A run for each of `composed.variants`, or for each trial of it, in the order in which to run them.

    That order rotates with the seed: a machine that grows slower within a round favours no variant.

    Args:
        composed: What `compare` composed.
        overrides: The command line's, with where to look for options, from which every variant is composed
            before its own.
        root: Directory of the comparison.
        compose: Composes the runs of all jobs.
        prefix: Of the runs' labels.

    Raises:
        UserError: a variant cannot work.
    """
    environment = dict(HydraConfig.get().job.env_set)
    kept: list[Variant] = []
    for variant in _variants(composed, overrides, compose):
        if variant.settings is not None or all(variant.composed != other.composed for other in kept):
            kept.append(variant)  # on one core, one thread is all cores
    planned = [
        Planned(
            root / f"{number}-{variant.label}", f"{prefix}{variant.label}", variant, environment, Path.cwd()
        )
        for number, variant in enumerate(kept)
    ]
    first = composed.seed % len(planned)
    return planned[first:] + planned[:first]


def _variants(composed: DictConfig, overrides: Sequence[str], compose: Composer) -> Iterator[Variant]:
    _check_own(composed)
    listed: Any = OmegaConf.to_container(composed.variants, resolve=False)
    given = {name: own for name, own in listed.items() if own is not None}
    require(bool(given), "variants lists nothing to compare; try '+variants.serial=[\"mode=serial\"]'")
    common = [one for one in overrides if not one.lstrip("+~").startswith(OWN_KEYS)]
    if composed.chosen is not None:
        without = {one.removeprefix("~variants.") for one in overrides if one.startswith("~variants.")}
        without |= listed.keys() - given.keys()
        given = read_chosen(Path(str(composed.chosen)), seed=composed.seed, variants=given, without=without)
    for name, own in given.items():
        variant = _compose(name, [*common, *own], compose)
        if composed.tune is None:
            yield Variant(name, name, variant, tuple(own))
            continue
        for number, settings in enumerate(_search(composed.tune, name, variant)):
            tried = _compose(name, [*common, *own, *settings], compose)
            yield Variant(f"{name}-{number}", name, tried, tuple(own), settings)


def _check_own(composed: DictConfig) -> None:
    """Refuse what is no list of ways of training, or no search among settings.

    Raises:
        UserError: with what it has to look like.
    """
    require(
        OmegaConf.is_dict(composed.variants),
        "variants is no mapping of lists of overrides; try '+variants.mine=[\"mode=serial\"]'",
    )
    for name, own in composed.variants.items():
        require(
            own is None or (OmegaConf.is_list(own) and all(isinstance(one, str) for one in own)),
            f"variants.{name} is no list of overrides; try '+variants.{name}=[\"mode=serial\"]'",
        )
    if composed.tune is None:
        return
    search: Any = composed.tune.get("search") if OmegaConf.is_dict(composed.tune) else None
    require(OmegaConf.is_dict(search), "tune holds no tune.search; try experiment=tune")
    trials = composed.tune.trials
    require(isinstance(trials, int) and trials >= 1, f"tune.trials={trials} is no number; try tune.trials=12")
    for name, grid in search.items():
        lists = OmegaConf.is_dict(grid) and all(OmegaConf.is_list(values) for values in grid.values())
        example = f"'tune.search.{name}={{optimizer.lr:[0.01,0.1]}}'"
        require(lists, f"tune.search.{name} is no list of values for each key; try {example}")


def _compose(name: str, overrides: Sequence[str], compose: Composer) -> DictConfig:
    """The configuration of a variant, checked.

    Raises:
        UserError: it cannot work.
    """
    from layerpar.check import check
    from layerpar.config import parse

    with in_one_line(overrides, command="layerpar compare"):
        variant = compose(overrides)
    with open_dict(variant):
        for key in OWN_KEYS:
            variant.pop(key, None)  # what an experiment says to compare is no part of a run
    OmegaConf.resolve(variant)
    try:
        check(parse(variant))
    except UserError as error:
        raise UserError(f"{error}, or leave it out with ~variants.{name}") from error
    return variant


def _search(tune: DictConfig, name: str, composed: DictConfig) -> list[Settings]:
    """The settings to try of a variant, by its own name or that of its method.

    Raises:
        UserError: none are given, or too few.
    """
    from layerpar.config import parse
    from layerpar.summary.content import method

    config = parse(composed)
    require(
        config.dataset.validation > 0,
        "tune chooses by images that are held out, and there are none; try dataset.validation=0.2",
    )
    named = method(config)
    key = name if name in tune.search else str(named["objective"] or named["mode"])
    require(
        key in tune.search and (key == name or not config.phases),
        f"tune.search has nothing for {name}; give +tune.search.{name}={{optimizer.lr:[0.01,0.1]}}, "
        f"or leave it out with ~variants.{name}",
    )
    grid: Any = OmegaConf.to_container(tune.search[key])
    return points(grid, tune.trials, name=key)
