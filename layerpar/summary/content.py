"""What a run was and what it measured: the content of `summary.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

from layerpar.config import RunConfig
from layerpar.summary.settings import effective, label

AFTER_MODES = 9
"""The place of runs of several phases in tables; see `Mode.order`."""


@dataclass(frozen=True)
class RankRecord:
    """What one worker did during the training segments.

    Attributes:
        rank: The worker.
        block: The blocks it trained: `0`, or `0-3`.
        layers: The layers it trained: `0-4`.
        busy_seconds: Training seconds spent neither waiting nor exchanging.
        wait_seconds: Training seconds spent blocked on a peer.
        exchange_seconds: Training seconds spent packing, copying and handing over messages.
        cpu_seconds: Processor seconds of its process during the training segments, all threads together.
        sent_bytes: Bytes it sent.
        peak_memory_bytes: Highest resident memory of the process while training (on a GPU: highest
            memory allocated there).
        idle_memory_bytes: The same before there was any data or network.
        flops: Floating-point operations of its forwards and backwards in all training steps, as far as they
            are matrix products and convolutions; None where the steps of a phase are not alike.
        predicted_step_seconds: What a step should have kept it busy, by the measured times of its layers;
            None where nothing was cut among workers, and for a run of several phases.
        paused_seconds: Seconds of training segments during which it was stopped (Ctrl-Z, a suspended
            machine); see `layerpar.measure.pauses`.
    """

    rank: int
    block: str
    layers: str
    busy_seconds: float
    wait_seconds: float
    exchange_seconds: float
    cpu_seconds: float
    sent_bytes: int
    peak_memory_bytes: int
    idle_memory_bytes: int
    flops: float | None
    predicted_step_seconds: float | None
    paused_seconds: float


@dataclass(frozen=True)
class Results:
    """What a run measured; None where it did not get that far.

    Attributes of the work, None too where the steps of a phase are not alike:
        gradient_evaluations: What all workers computed, in units of what the gradient of the whole network's
            loss for one sample takes, by floating-point operations.
        num_updates: How often the common weights changed.
    """

    num_parameters: int | None = None
    num_layers: int | None = None
    device: str | None = None
    train_seconds: float | None = None
    samples_per_second: float | None = None
    test_accuracy: float | None = None
    best_test_accuracy: float | None = None
    test_loss: float | None = None
    validation_accuracy: float | None = None
    best_validation_accuracy: float | None = None
    time_to_target_seconds: float | None = None
    steps: int | None = None
    start_seconds: float | None = None
    contended: bool | None = None
    paused_seconds: float | None = None
    ranks: tuple[RankRecord, ...] = ()
    phase_seconds: tuple[float, ...] = ()
    gradient_evaluations: float | None = None
    num_updates: float | None = None


def summary(config: RunConfig, status: str, results: Results) -> dict[str, Any]:
    """The content of `summary.json`. The keys are stable: tools read them.

    It says from the start what the run is; numbers are null until they are measured. A run of several
    phases has the mode `phases`, and no objective or aggregation of its own.
    """
    mixed = {"mode": "phases", "objective": None, "aggregation": None}
    return {
        "status": status,
        "label": label(config),
        "order": AFTER_MODES if config.phases else config.mode.order(config),
        **(mixed if config.phases else method(config)),
        "dataset": config.dataset.name,
        "architecture": config.architecture.name,
        "depth": config.architecture.depth,
        "width": config.architecture.width,
        "num_blocks": _num_blocks(config, results.num_layers),
        "num_parameters": results.num_parameters,
        "workers": config.num_workers,
        "replicas": max(phase.config.mode.num_replicas(config.workers) for phase in config.parts),
        "device": results.device,
        "threads_per_worker": config.threads_per_worker,
        "seed": config.seed,
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "train_seconds": results.train_seconds,
        "samples_per_second": results.samples_per_second,
        "test_accuracy": results.test_accuracy,
        "best_test_accuracy": results.best_test_accuracy,
        "test_loss": results.test_loss,
        "validation_accuracy": results.validation_accuracy,
        "best_validation_accuracy": results.best_validation_accuracy,
        "target_accuracy": config.target_accuracy,
        "time_to_target_seconds": results.time_to_target_seconds,
        "steps": results.steps,
        "samples_per_update": _samples_per_update(config),
        "gradient_evaluations": results.gradient_evaluations,
        "num_updates": results.num_updates,
        "start_seconds": results.start_seconds,
        "contended": results.contended,
        "paused_seconds": results.paused_seconds,
        "ranks": [asdict(rank) for rank in results.ranks],
        "phases": [
            {
                "name": phase.name,
                **method(phase.config),
                "epochs": phase.config.epochs,
                "train_seconds": seconds,
            }
            for phase, seconds in zip_longest(config.phases, results.phase_seconds[: len(config.phases)])
        ],
        "settings": effective(config),
    }


def method(config: RunConfig) -> dict[str, str | None]:
    """Mode, objective and aggregation by name; None where the mode has no use for it."""
    return {
        "mode": config.mode.name,
        "objective": config.objective.name if config.mode.has_objective else None,
        "aggregation": config.aggregation.name if config.mode.aggregates else None,
    }


def _num_blocks(config: RunConfig, num_layers: int | None) -> int | None:
    """Of the phase that cuts finest; None before the network is built."""
    if num_layers is None:
        return None
    return max(phase.config.mode.num_blocks(config.workers, num_layers) for phase in config.parts)


def _samples_per_update(config: RunConfig) -> int | None:
    """None where phases differ."""
    found = {phase.config.mode.samples_per_update(phase.config) for phase in config.parts}
    return found.pop() if len(found) == 1 else None
