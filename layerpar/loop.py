"""The training loop: the same for every mode. Timed segments of steps, untimed evaluations between them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from layerpar import liveness
from layerpar.config import RunConfig
from layerpar.datasets.base import Batch, Loader
from layerpar.engine.contract import Engine, StepResult
from layerpar.engine.gather import from_owner
from layerpar.errors import DivergedError
from layerpar.measure.metrics import MetricsLog
from layerpar.measure.stopwatch import Stopwatch
from layerpar.measure.trace import middle


@dataclass
class Progress:
    """How far the run is, on every rank.

    Attributes:
        step: Optimizer steps done.
        epoch: Epochs done.
        train_seconds: The clock: per segment the MAX over ranks, summed.
        evaluations: (train seconds, accuracy, loss) at the end of each epoch, on the validation split where
            there is one, else on the test set.
        test_scores: Accuracy and loss on the test set when it was last scored; None before.
        phase_seconds: Train seconds of each phase that was begun.
        assignments: Blocks and layers that this rank trained in each phase that was begun.
        peak_memory_bytes: Of this rank, the highest of all phases.
        start_seconds: From the command to the first step of the clock.
    """

    step: int = 0
    epoch: int = 0
    train_seconds: float = 0.0
    evaluations: list[tuple[float, float, float]] = field(default_factory=list)
    test_scores: tuple[float, float] | None = None
    phase_seconds: list[float] = field(default_factory=list)
    assignments: list[tuple[str, str]] = field(default_factory=list)
    peak_memory_bytes: int = 0
    start_seconds: float = 0.0

    def time_to(self, target_accuracy: float | None) -> float | None:
        """Train seconds at the first evaluation that reached the target, None if none did."""
        if target_accuracy is None:
            return None
        reached = [seconds for seconds, accuracy, _ in self.evaluations if accuracy >= target_accuracy]
        return reached[0] if reached else None


def warm_up(engine: Engine, loader: Loader, *, steps: int) -> None:
    """Run some steps that leave no trace but warm caches. Collective."""
    if steps == 0:
        return
    liveness.meet()
    before = engine.state_dict()
    batches = loader.train(epoch=0)
    steps = min(steps, loader.steps_per_epoch)
    engine.start(steps)
    for _ in range(steps):
        engine.step(next(batches))
    engine.finish()
    engine.load_state_dict(before)


def train_epoch(
    engine: Engine,
    loader: Loader,
    config: RunConfig,
    progress: Progress,
    *,
    stopwatch: Stopwatch,
    log: MetricsLog | None,
) -> dict[str, float]:
    """One timed segment: the run's next epoch of steps. Collective. Advances `progress`.

    Returns:
        Means over the epoch: `train_loss`, and every scalar the engines gave, over all ranks that hold it.

    Raises:
        DivergedError: on the rank that holds the loss, as soon as a log interval shows one not finite.
    """
    recent: list[StepResult] = []
    results: list[StepResult] = []
    liveness.meet()
    dist.barrier()
    stopwatch.start()
    engine.start(loader.steps_per_epoch)
    first = stopwatch.now()
    traced = middle(config.trace_steps if progress.epoch == 0 else 0, loader.steps_per_epoch)
    for index, batch in enumerate(loader.train(progress.epoch), start=1):
        with stopwatch.step(progress.step + index, traced=index in traced):
            recent.append(engine.step(batch))
        if index % config.log_every_steps == 0 or index == loader.steps_per_epoch:
            loss = _finite_mean(recent, first_step=progress.step + index - len(recent) + 1)
            if log is not None:
                elapsed = stopwatch.now() - first
                log.write(
                    "train",
                    epoch=progress.epoch + 1,
                    step=progress.step + index,
                    train_seconds=stopwatch.now(),
                    train_loss=loss,
                    samples_per_second=index * config.batch_size / elapsed,
                )
            results += recent
            recent = []
    engine.finish()
    seconds = stopwatch.stop()
    progress.step += loader.steps_per_epoch
    progress.epoch += 1
    means, longest = _reduce(results, seconds)
    stopwatch.idle(longest - seconds)
    progress.train_seconds += longest
    progress.phase_seconds[-1] += longest
    return means


def evaluate(engine: Engine, batches: Iterable[Batch]) -> tuple[float, float]:
    """Accuracy and mean cross-entropy over `batches`, on every rank. Collective."""
    correct, loss, count = 0, 0.0, 0
    for batch in batches:
        logits = engine.predict(batch)
        if logits is None:
            continue
        logits = logits.float()
        correct += int((logits.argmax(1) == batch.labels).sum())
        loss += float(nn.functional.cross_entropy(logits, batch.labels, reduction="sum"))
        count += len(batch.labels)
    scores = (correct / count, loss / count) if engine.owner else None
    return from_owner(scores, owner=engine.owner)


def _finite_mean(results: list[StepResult], *, first_step: int) -> float | None:
    losses = [result.loss for result in results]
    if losses[0] is None:
        return None
    values = torch.stack([loss for loss in losses if loss is not None]).tolist()
    for step, value in enumerate(values, start=first_step):
        if not math.isfinite(value):
            raise DivergedError(step, value)
    return sum(values) / len(values)


def _reduce(results: list[StepResult], seconds: float) -> tuple[dict[str, float], float]:
    """Means over all ranks that hold them, and the seconds of the slowest rank."""
    names = {name for result in results for name in result.scalars}
    means = {
        name: _mean([result.scalars[name] for result in results if name in result.scalars]) for name in names
    }
    losses = [result.loss for result in results if result.loss is not None]
    own: dict[str, Any] = {"seconds": seconds, "scalars": means, "loss": _mean(losses) if losses else None}
    every: list[Any] = [None] * dist.get_world_size()
    liveness.meet()
    dist.all_gather_object(every, own)
    held = [rank["loss"] for rank in every if rank["loss"] is not None]
    told: dict[str, list[float]] = {}
    for rank in every:
        for name, value in rank["scalars"].items():
            told.setdefault(name, []).append(value)
    merged = {name: sum(values) / len(values) for name, values in told.items()}
    return {"train_loss": sum(held) / len(held)} | merged, max(rank["seconds"] for rank in every)


def _mean(values: list[Tensor]) -> float:
    return float(torch.stack(values).float().mean())
