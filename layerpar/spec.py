"""What is trained and how: all that an engine or the check of a mode knows of a run."""

from __future__ import annotations

from dataclasses import dataclass

from layerpar.aggregation import Aggregation
from layerpar.architectures.base import Architecture
from layerpar.datasets.base import Dataset
from layerpar.errors import require, require_at_least, require_choice
from layerpar.objectives.base import Objective
from layerpar.optimizers import OptimizerConfig
from layerpar.seeds import check_seed


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
        target_accuracy: Accuracy in (0, 1] whose first reaching by an evaluation is timed; null for none.
        warmup_steps: Steps run before the clock starts, whose effect is thrown away.
        log_every_steps: Steps between two training lines of `metrics.jsonl`.
        trace_steps: Steps in the middle of the first epoch (of its first `evaluate_every_steps`) whose
            timeline is recorded on every worker; they take a little longer for it.
        evaluate_every_steps: Steps between two evaluations within an epoch; 0 for one at its end only. The
            clock stops for it, so what is in flight is completed first: the objectives that stream drain, and
            rounds of aggregation end.
        checkpoint_every: Epochs between two checkpoints; 0 for none.
        keep_checkpoint: Keep the last checkpoint of a finished run, so that it can go on with more epochs.
        optimized_metric: The number of `summary.json` that a search goes by; null for the validation
            accuracy, or the test accuracy where nothing is held out. See `layerpar.optimized`.
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
    evaluate_every_steps: int
    checkpoint_every: int
    keep_checkpoint: bool
    optimized_metric: str | None

    def __post_init__(self) -> None:
        for key in ("workers", "epochs", "batch_size", "threads_per_worker", "log_every_steps"):
            require_at_least(key, getattr(self, key), 1)
        check_seed("seed", self.seed)
        for key in ("warmup_steps", "trace_steps", "evaluate_every_steps", "checkpoint_every"):
            require_at_least(key, getattr(self, key), 0)
        require_choice("device", self.device, ("auto", "cpu", "cuda"))
        require_choice("precision", self.precision, ("fp32", "bf16"))
        target = self.target_accuracy
        require(
            target is None or 0 < target <= 1,
            f"target_accuracy={target} is not in (0, 1]; try target_accuracy=0.95",
        )


@dataclass(kw_only=True)
class RunSpec(Settings):
    """The flat keys, and the choices of the groups that an engine works with."""

    dataset: Dataset
    architecture: Architecture
    objective: Objective
    aggregation: Aggregation
    optimizer: OptimizerConfig
