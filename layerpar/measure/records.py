"""The files a run leaves behind while it goes and when it ends; see `layerpar.paths` for their names."""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerpar.measure.settings import effective, label
from layerpar.paths import RunDirectory

if TYPE_CHECKING:
    from layerpar.config import RunConfig

AFTER_MODES = 9
"""The place of runs of several phases in tables; see `Mode.order`."""


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write strict JSON to a temporary name, then rename: a reader sees the old file or the new one."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(strict(content), indent=2, allow_nan=False) + "\n")
    temporary.replace(path)


def write_status(directory: RunDirectory, status: str, **details: Any) -> None:
    """Say where the run stands.

    Args:
        directory: The run's.
        status: created, running, done, failed, interrupted, diverged or refused.
        details: `phase` while it runs (what it is doing, such as `evaluating`); `message`, `rank` or `step`
            once it ended badly.
    """
    write_json(directory.status, {"status": status, "phase": None, "message": None} | details)


def read_status(directory: RunDirectory) -> dict[str, Any]:
    """The last `write_status`."""
    return json.loads(directory.status.read_text())


def is_locked(directory: RunDirectory) -> bool:
    """Whether a process runs this directory: it holds a lock, which the system takes back however it ends."""
    with directory.run_yaml.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


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
        predicted_step_seconds: What a step should have kept it busy, by the measured times of its layers;
            None where nothing was cut among workers, and for a run of several phases.
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
    predicted_step_seconds: float | None


@dataclass(frozen=True)
class Results:
    """What a run measured; None where it did not get that far."""

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
    ranks: tuple[RankRecord, ...] = ()
    phase_seconds: tuple[float, ...] = ()


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
        "start_seconds": results.start_seconds,
        "contended": results.contended,
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


def strict(value: Any) -> Any:
    """`value` for strict JSON, which knows no number that is not finite: those become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return value
