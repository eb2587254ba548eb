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
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from layerpar.errors import UserError, require, require_at_least, require_choice
from layerpar.typed import option, typed

if TYPE_CHECKING:
    from layerpar.aggregation import Aggregation
    from layerpar.architectures.base import Architecture
    from layerpar.datasets.base import Dataset
    from layerpar.launchers.base import Launcher
    from layerpar.modes.base import Mode
    from layerpar.objectives.base import Objective
    from layerpar.optimizers import OptimizerConfig

GROUPS = ("dataset", "architecture", "mode", "objective", "aggregation", "optimizer", "launcher")

PHASE_GROUPS = ("mode", "objective", "aggregation", "optimizer")
"""The groups of which a phase may make a choice of its own."""


@dataclass(kw_only=True)
class Settings:
    """The flat keys that every run has.

    Attributes:
        seed: Start weights, sample order and augmentation all follow from it.
        workers: Worker processes; `serial` and `sequential` always use one.
        epochs: Passes over the training set.
        batch_size: Samples per optimizer step over all workers together (the global batch).
        device: `auto`, `cpu` or `cuda`.
        precision: `fp32`, or `bf16` for autocast.
        compile: Compile forward and backward (`torch.compile`), in the warm-up steps.
        threads_per_worker: CPU threads of each worker.
        target_accuracy: Test accuracy in [0, 1] whose first reaching is timed; null for none.
        warmup_steps: Steps run before the clock starts, whose effect is thrown away.
        log_every_steps: Steps between two training lines of `metrics.jsonl`.
        trace_steps: Steps in the middle of the first epoch whose timeline is recorded on every worker; they
            take a little longer for it.
        tensorboard: Write the scalars of `metrics.jsonl` for TensorBoard too.
        checkpoint_every: Epochs between two checkpoints; 0 for none.
    """

    seed: int
    workers: int
    epochs: int
    batch_size: int
    device: str
    precision: str
    compile: bool
    threads_per_worker: int
    target_accuracy: float | None
    warmup_steps: int
    log_every_steps: int
    trace_steps: int
    tensorboard: bool
    checkpoint_every: int

    def __post_init__(self) -> None:
        for key in ("workers", "epochs", "batch_size", "threads_per_worker", "log_every_steps"):
            require_at_least(key, getattr(self, key), 1)
        require_at_least("seed", self.seed, 0)
        for key in ("warmup_steps", "trace_steps", "checkpoint_every"):
            require_at_least(key, getattr(self, key), 0)
        require_choice("device", self.device, ("auto", "cpu", "cuda"))
        require_choice("precision", self.precision, ("fp32", "bf16"))
        target = self.target_accuracy
        require(
            target is None or 0 < target <= 1,
            f"target_accuracy={target} is not in (0, 1]; try target_accuracy=0.95",
        )


@dataclass(kw_only=True)
class RunConfig(Settings):
    """A whole run: the flat keys and one object for each group's choice."""

    dataset: Dataset
    architecture: Architecture
    mode: Mode
    objective: Objective
    aggregation: Aggregation
    optimizer: OptimizerConfig
    launcher: Launcher
    phases: tuple[Phase, ...] = ()

    @property
    def parts(self) -> tuple[Phase, ...]:
        """What to train, in order: the phases, or the run itself as the only one."""
        return self.phases or (Phase(self.mode.name, self),)

    @property
    def num_workers(self) -> int:
        """Worker processes of the run: as many as the phase with the most of them really uses."""
        return max(phase.config.mode.num_workers(self.workers) for phase in self.parts)

    @property
    def replica_batch_size(self) -> int:
        """Samples of a step that each copy of the network trains on."""
        return self.batch_size // self.mode.num_replicas(self.workers)


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
    flat = {key: value for key, value in config.items() if key not in (*GROUPS, "phases")}
    settings = typed(Settings, flat, prefix="")
    options = {group: option(group, config[group]) for group in GROUPS}
    run = RunConfig(**{field.name: getattr(settings, field.name) for field in fields(Settings)}, **options)
    run.phases = tuple(_phase(run, str(name), node) for name, node in config.get("phases", {}).items())
    total = sum(phase.config.epochs for phase in run.parts)
    require(
        run.epochs == total,
        f"epochs={run.epochs}, but those of the phases add up to {total}; try epochs={total}",
    )
    return run


def load(path: Path) -> RunConfig:
    """The run that a `run.yaml` describes."""
    composed = OmegaConf.load(path)
    assert isinstance(composed, DictConfig)
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
    require(isinstance(epochs, int) and epochs >= 1, f"{key}.epochs={epochs} is no count; try {key}.epochs=1")
    own = frozenset(group for group in PHASE_GROUPS if group in node)
    with Phase(name, run, own).naming():
        options = {group: option(group, node[group]) for group in own}
    return Phase(name, replace(run, epochs=epochs, phases=(), **options), own)
