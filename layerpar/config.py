"""What a run is: typed settings made from a composed configuration. `DictConfig` stops here.

Every option of every group is a dataclass named by its YAML's `_target_`; the YAML gives the values, the
dataclass gives the types and the checks. So a new option is one Python file plus one YAML.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from layerpar.errors import UserError, require, require_at_least, require_choice

if TYPE_CHECKING:
    from layerpar.aggregation import Aggregation
    from layerpar.architectures.base import Architecture
    from layerpar.datasets.base import Dataset
    from layerpar.launch import Launcher
    from layerpar.layerwise.block import Objective
    from layerpar.modes.base import Mode
    from layerpar.optimizers import OptimizerConfig

EXAMPLES = {"int": "1", "float": "0.1", "bool": "true"}
"""A value of each type, for the repair in an error."""

GROUPS = ("dataset", "architecture", "mode", "objective", "aggregation", "optimizer", "launcher")


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

    def __post_init__(self) -> None:
        for key in ("workers", "epochs", "batch_size", "threads_per_worker", "log_every_steps"):
            require_at_least(key, getattr(self, key), 1)
        require_at_least("seed", self.seed, 0)
        require_at_least("warmup_steps", self.warmup_steps, 0)
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

    @property
    def num_workers(self) -> int:
        """Worker processes that the mode really uses."""
        return self.mode.num_workers(self.workers)


def parse(config: DictConfig) -> RunConfig:
    """Turn a composed configuration into typed objects.

    Raises:
        UserError: an unknown key, a value of the wrong type or out of range.
    """
    known = {field.name for field in fields(Settings)} | set(GROUPS)
    for key in map(str, config):
        require(key in known, f"{key} is not a key of a run; leave out +{key}=…")
    flat = {key: value for key, value in config.items() if key not in GROUPS}
    settings = _typed(Settings, flat, prefix="")
    options = {group: _option(group, config[group]) for group in GROUPS}
    return RunConfig(**{field.name: getattr(settings, field.name) for field in fields(Settings)}, **options)


def _option(group: str, node: DictConfig) -> Any:
    target = node.get("_target_")
    require(isinstance(target, str), f"{group} names no class; give conf/{group}/NAME.yaml a _target_")
    module_name, _, class_name = target.rpartition(".")
    try:
        option_class = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{group}: cannot import _target_ {target} ({error}); repair the YAML") from error
    values = {key: value for key, value in node.items() if key != "_target_"}
    return _typed(option_class, values, prefix=f"{group}.")


def _typed(schema: type, values: dict[Any, Any], *, prefix: str) -> Any:
    known = {field.name: field for field in fields(schema)}
    for key in values:
        require(key in known, f"{prefix}{key} is not a key of {schema.__name__}; leave out +{prefix}{key}=…")
    for name, field in known.items():
        optional = field.default is not MISSING or field.default_factory is not MISSING
        require(name in values or optional, f"{prefix}{name} has no value; give {prefix}{name}=…")
    examples = {name: EXAMPLES.get(_type_name(field.type), "VALUE") for name, field in known.items()}
    with _named(prefix, examples):
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values))


def _type_name(annotation: Any) -> str:
    """`int` for both the class and the annotation `int | None`."""
    return str(getattr(annotation, "__name__", annotation)).partition(" ")[0]


@contextmanager
def _named(prefix: str, examples: dict[str, str]) -> Iterator[None]:
    try:
        yield
    except OmegaConfBaseException as error:
        reason = str(error.msg or error).splitlines()[0]
        key = f"{prefix}{error.full_key}"
        raise UserError(f"{key}: {reason}; try {key}={examples.get(str(error.full_key), 'VALUE')}") from error
