"""What a run is: typed settings made from a composed configuration. `DictConfig` stops here.

Every option of every group is a dataclass named by its YAML's `_target_`; the YAML gives the values, the
dataclass gives the types and the checks. So a new option is one Python file plus one YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from layerpar.aggregation import Aggregation
from layerpar.architectures.base import Architecture
from layerpar.datasets.base import Dataset
from layerpar.errors import UserError, require
from layerpar.launchers.base import Launcher
from layerpar.loggers.base import Logger
from layerpar.modes.base import Mode
from layerpar.objectives.base import Objective
from layerpar.optimizers import OptimizerConfig
from layerpar.spec import RunSpec, Settings
from layerpar.typed import option, resolved, typed

GROUPS = {
    "dataset": Dataset,
    "architecture": Architecture,
    "mode": Mode,
    "objective": Objective,
    "aggregation": Aggregation,
    "optimizer": OptimizerConfig,
    "launcher": Launcher,
    "logger": Logger,
}
"""The groups, and the class that each choice must be a subclass of."""

PHASE_GROUPS = ("mode", "objective", "aggregation", "optimizer")
"""The groups of which a phase may make a choice of its own."""


@dataclass(kw_only=True)
class RunConfig(RunSpec):
    """A whole run: what is trained, in which mode (or one after the other), by what workers; who logs it."""

    mode: Mode
    launcher: Launcher
    logger: Logger
    phases: tuple[Phase, ...] = ()

    @property
    def parts(self) -> tuple[Phase, ...]:
        """What to train, in order: the phases, or the run itself as the only one."""
        return self.phases or (Phase(self.mode.name, self),)

    @property
    def num_workers(self) -> int:
        """Worker processes of the run: as many as the phase with the most of them really uses."""
        return max(phase.config.mode.num_workers(self.workers) for phase in self.parts)


@dataclass(frozen=True)
class Phase:
    """A part of a run with its own way of training, over the weights that the part before left.

    Attributes:
        name: Its key under `phases`.
        config: The run as it is during this phase; `epochs` are those of the phase.
        own: The groups it has a choice of its own for.
    """

    name: str
    config: RunConfig
    own: frozenset[str] = frozenset()

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Let a refusal within name the keys of this phase instead of the run's."""
        try:
            yield
        except UserError as error:
            if not self.own:
                raise
            groups = "|".join(sorted(self.own))
            text = re.sub(rf"\b({groups})\.(?=\w)", rf"phases.{self.name}.\1.", str(error))
            text = re.sub(rf"\b({groups})=", rf"\1@phases.{self.name}.\1=", text)
            raise UserError(f"phase {self.name}: {text}") from error


def parse(config: DictConfig) -> RunConfig:
    """Turn a composed configuration into typed objects.

    Raises:
        UserError: an unknown key, a value of the wrong type or out of range.
    """
    known = {field.name for field in fields(Settings)} | set(GROUPS) | {"phases"}
    require("variants" not in config, "this experiment compares several ways; try layerpar compare with it")
    for key in map(str, config):
        require(key in known, f"{key} is not a key of a run; leave out +{key}=…")
    values = resolved(config)
    for group in GROUPS:
        require(group in values, f"{group} has no choice; leave out ~{group}")
    flat = {key: value for key, value in values.items() if key not in (*GROUPS, "phases")}
    settings = typed(Settings, flat, prefix="")
    options = {group: option(group, values[group], base) for group, base in GROUPS.items()}
    run = RunConfig(**{field.name: getattr(settings, field.name) for field in fields(Settings)}, **options)
    phases = values.get("phases") or {}
    require(isinstance(phases, Mapping), f"phases={phases} is no mapping; try +phases.NAME.epochs=1")
    run.phases = tuple(_phase(run, str(name), node) for name, node in phases.items())
    total = sum(phase.config.epochs for phase in run.parts)
    require(
        run.epochs == total,
        f"epochs={run.epochs}, but those of the phases add up to {total}; try epochs={total}",
    )
    return run


def load(path: Path) -> RunConfig:
    """The run that a `run.yaml` describes.

    One from somebody else is data, not code: it chooses among subclasses of layerpar's own options
    (`_target_`) and calls nothing else. But to look for them it imports any module that Python finds, and
    the run reads, and downloads into, the `dataset.root` it names, uses the hosts it names, and takes the
    memory it asks for.
    """
    try:
        composed = OmegaConf.load(path)
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged; try another directory") from error
    if not isinstance(composed, DictConfig):
        raise UserError(f"{path} describes no run; try another directory")
    return parse(composed)


def _phase(run: RunConfig, name: str, node: Any) -> Phase:
    key = f"phases.{name}"
    require(isinstance(node, Mapping), f"{key} is no mapping; try +{key}.epochs=1")
    for inner in node:
        allowed = ", ".join(("epochs", *PHASE_GROUPS))
        require(
            inner in ("epochs", *PHASE_GROUPS),
            f"{key}.{inner} is not a key of a phase ({allowed}); leave out +{key}.{inner}=…",
        )
    epochs = node.get("epochs")
    require(
        isinstance(epochs, int) and epochs >= 1, f"{key}.epochs={epochs} is no count; try ++{key}.epochs=1"
    )
    own = frozenset(group for group in PHASE_GROUPS if group in node)
    with Phase(name, run, own).naming():
        options = {group: option(group, node[group], GROUPS[group]) for group in own}
    return Phase(name, replace(run, epochs=epochs, phases=(), **options), own)
