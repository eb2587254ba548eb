"""The settings that a run obeys, as flat dotted keys: what `summary.json` tells of its configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from layerpar.config import GROUPS, RunConfig
from layerpar.spec import Settings

WITHOUT_EFFECT = {
    "dataset.root",
    "dataset.verify_checksums",
    "launcher.port",
    "launcher.timeout_seconds",
    "launcher.join_seconds",
    "warmup_steps",
    "log_every_steps",
    "checkpoint_every",
    "keep_checkpoint",
    "optimized_metric",
    "device",
}
"""Keys that change neither what is computed nor what is timed; the device used is a key of its own."""


def label(config: RunConfig) -> str:
    """The name of a way of training; of several phases, with epochs: `serial 1 → layerwise delayed 8`."""
    if not config.phases:
        return config.mode.label(config)
    parts = [phase.config for phase in config.phases]
    return " → ".join(f"{part.mode.label(part)} {part.epochs}" for part in parts)


def effective(config: RunConfig) -> dict[str, Any]:
    """The settings that took effect, lists as their JSON text.

    Left out are groups that no part of the run obeys, such as the objective of a mode without one, and
    `WITHOUT_EFFECT`. `workers` is the number of workers used.
    """
    flat = {field.name: getattr(config, field.name) for field in fields(Settings)}
    flat["workers"] = config.num_workers
    if config.phases:
        flat["phases"] = label(config)
    for group in GROUPS.keys() - {"logger"}:
        if any(group not in phase.own and _obeys(phase.config, group) for phase in config.parts):
            flat |= dict(_leaves(getattr(config, group), group))
    for phase in config.phases:
        flat[f"phases.{phase.name}.epochs"] = phase.config.epochs
        for group in (group for group in GROUPS if group in phase.own and _obeys(phase.config, group)):
            flat |= dict(_leaves(getattr(phase.config, group), f"phases.{phase.name}.{group}"))
    if config.num_workers != config.workers:  # `blocks=workers` means those that were asked for
        named = [key for key, value in flat.items() if key.endswith("mode.blocks") and value == "workers"]
        flat |= dict.fromkeys(named, config.workers)
    return {key: value for key, value in flat.items() if key not in WITHOUT_EFFECT}


def _obeys(config: RunConfig, group: str) -> bool:
    return {"objective": config.mode.has_objective, "aggregation": config.mode.aggregates}.get(group, True)


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}")
    else:
        yield key, json.dumps(value) if isinstance(value, list | tuple) else value
