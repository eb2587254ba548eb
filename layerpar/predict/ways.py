"""The ways of training that a prediction compares, composed as `compare` composes its variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf, open_dict

from layerpar.compose import composing
from layerpar.config import RunConfig, parse
from layerpar.errors import require
from layerpar.results.settings import disambiguate
from layerpar.summary.settings import effective
from layerpar.variants import OWN_KEYS


@dataclass(frozen=True)
class Way:
    """One way of training.

    Attributes:
        name: As tables and figures show it.
        config: The run, on as many workers as the configuration says.
        variant: Its key among `variants`.
    """

    name: str
    config: RunConfig
    variant: str


def compose_ways(overrides: Sequence[str]) -> list[Way]:
    """Every variant of `conf/predict.yaml` with these overrides, in their order.

    Raises:
        UserError: an override is wrong, or a variant has phases.
    """
    with composing(overrides, command="layerpar train"):
        composed = compose("predict", overrides=list(overrides))
        common = [override for override in overrides if not override.lstrip("+~").startswith(OWN_KEYS)]
        given: Any = OmegaConf.to_container(composed.variants, resolve=False)
        variants = {
            name: compose("train", overrides=[*common, *own])
            for name, own in given.items()
            if own is not None
        }
    require(bool(variants), "variants lists nothing to predict; leave out ~variants")
    return _named(variants)


def _named(variants: dict[str, DictConfig]) -> list[Way]:
    configs = []
    for composed in variants.values():
        with open_dict(composed):
            for key in OWN_KEYS:
                composed.pop(key, None)
        configs.append(parse(composed))
        require(not configs[-1].phases, "a run of several phases cannot be predicted; try phases={}")
    labels = [config.mode.label(config) for config in configs]
    names = disambiguate(labels, [effective(config) for config in configs], ignore={"workers"})
    return [Way(*way) for way in zip(names, configs, variants, strict=True)]
