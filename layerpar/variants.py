"""What `layerpar compare` runs: the same work in several ways, all checked before any of it starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import env_override
from omegaconf import DictConfig, OmegaConf, open_dict

from layerpar.compose import in_one_line
from layerpar.errors import UserError


@dataclass(frozen=True)
class Planned:
    """One run to come.

    Attributes:
        root: Its directory.
        label: Names it on the screen.
        composed: Its whole configuration.
        environment: `hydra.job.env_set`.
        folder: The working directory.
    """

    root: Path
    label: str
    composed: DictConfig
    environment: Mapping[str, str]
    folder: Path

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """What Hydra sets up around a job, around this run."""
        with env_override(dict(self.environment)), chdir(self.folder):
            yield


def plan(composed: DictConfig, overrides: Sequence[str], root: Path, *, prefix: str = "") -> list[Planned]:
    """A run for each of `composed.variants`, in directories below `root`.

    Args:
        composed: What `compare` composed.
        overrides: The command line's, with where to look for options, from which every variant is composed
            before its own.
        root: Directory of the comparison.
        prefix: Of the runs' labels.

    Raises:
        UserError: a variant cannot work.
    """
    variants = _variants(composed, overrides)
    environment = dict(HydraConfig.get().job.env_set)
    return [
        Planned(root / f"{number}-{name}", f"{prefix}{name}", variant, environment, Path.cwd())
        for number, (name, variant) in enumerate(variants.items())
    ]


def _variants(composed: DictConfig, overrides: Sequence[str]) -> dict[str, DictConfig]:
    from layerpar.check import check
    from layerpar.config import parse

    common = [override for override in overrides if not override.lstrip("+~").startswith("variants")]
    variants: dict[str, DictConfig] = {}
    given: Any = OmegaConf.to_container(composed.variants, resolve=False)
    for name, own in given.items():
        if own is None:
            continue
        with in_one_line(own, command="layerpar compare"):
            variant = hydra.compose("train", overrides=[*common, *own])
        with open_dict(variant):
            variant.pop("variants", None)  # an experiment's own list is no part of a run
        OmegaConf.resolve(variant)
        try:
            check(parse(variant))
        except UserError as error:
            raise UserError(f"{error}, or leave it out with ~variants.{name}") from error
        if variant not in variants.values():  # on one core, one thread is all cores
            variants[name] = variant
    if not variants:
        raise UserError("variants lists nothing to compare; try '+variants.serial=[\"mode=serial\"]'")
    return variants
