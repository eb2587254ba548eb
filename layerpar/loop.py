"""The training loop: the same for every mode. Timed segments of steps, untimed evaluations between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from layerpar.aggregation.aggregator import OF_RULES
from layerpar.config import RunConfig
from layerpar.datasets.base import Batch, Loader
from layerpar.engine.contract import Engine, StepResult
from layerpar.measure.live import LiveStep
from layerpar.measure.losses import FiniteLosses
from layerpar.measure.stopwatch import Stopwatch
from layerpar.measure.trace import middle
from layerpar.rendezvous import liveness


@dataclass
class Progress:
    """How far the run is, on every rank.

    Attributes:
        step: Optimizer steps done.
        epoch: Epochs done.
        train_seconds: The clock: per segment the MAX over ranks, summed.
        evaluations: (train seconds, accuracy, loss) at the end of each segment, on the validation split where
            there is one, else on the test set.
        test_scores: Accuracy and loss on the test set when it was last scored; None before.
        phase_seconds: Train seconds of each phase that was begun.
        assignments: Blocks and layers that this rank trained in each phase that was begun.
        peak_memory_bytes: Of this rank, the highest of all phases.
        start_seconds: From the command to the first step of the clock.
        flops: Floating-point operations of this rank; see `layerpar.work`. None where a phase's were not
            counted, as of the next two.
        gradient_evaluations: Of all ranks.
        updates: Of the common weights.
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
    flops: float | None = 0.0
    gradient_evaluations: float | None = 0.0
    updates: float | None = 0.0

    def time_to(self, target_accuracy: float | None) -> float | None:
        """Train seconds at the first evaluation that reached the target, None if none did."""
        if target_accuracy is None:
            return None
        reached = [seconds for seconds, accuracy, _ in self.evaluations if accuracy >= target_accuracy]
        return reached[0] if reached else None


@dataclass(frozen=True)
class Segment:
    """What a timed segment has shown, to be written down after it.

    Attributes:
        means: Over its steps: `train_loss` and every scalar the engines gave, over all ranks that hold it.
        lines: On the rank that holds the loss, what `metrics.jsonl` says of each log interval.
    """

    means: dict[str, float]
    lines: list[dict[str, Any]]


def warm_up(engine: Engine, loader: Loader, *, steps: int) -> None:
    """Run some steps that leave no trace but warm caches. Collective."""
    if steps > 0:
        rehearse(engine, loader, steps=min(steps, loader.steps_per_epoch))


def rehearse(engine: Engine, loader: Loader, *, steps: int) -> None:
    """A segment on the first batches, after which the engine is as before. Collective."""
    liveness.meet()
    before = engine.state_dict()
    batches = loader.train(0, range(steps))
    engine.start(steps)
    for batch in batches:
        engine.step(batch)
    engine.finish()
    engine.load_state_dict(before)


def train_epoch(
    engine: Engine,
    loader: Loader,
    config: RunConfig,
    progress: Progress,
    *,
    stopwatch: Stopwatch,
    live: LiveStep | None = None,
) -> Iterator[Segment]:
    """The run's next epoch: a segment, or one each `evaluate_every_steps`. Collective. Advances `progress`.

    Where a segment ends, the engine completes what is in flight: streamed objectives drain, rounds end. Its
    samples are read within the clock, none of them before it.

    Raises:
        DivergedError: on the rank that holds the loss, once a log interval shows one not finite.
    """
    total = loader.steps_per_epoch
    every = config.evaluate_every_steps or total
    for first in range(0, total, every):
        places = range(first, min(first + every, total))
        batches, steps = loader.train(progress.epoch, places), range(places.start + 1, places.stop + 1)
        segment = _train_segment(engine, batches, steps, config, progress, stopwatch, live=live)
        if steps[-1] == total:
            progress.epoch += 1
        yield segment


def _train_segment(
    engine: Engine,
    batches: Iterable[Batch],
    steps: range,
    config: RunConfig,
    progress: Progress,
    stopwatch: Stopwatch,
    *,
    live: LiveStep | None,
) -> Segment:
    """Train on `batches`, the epoch's steps `steps` (from 1), while the clock runs. Nothing is written."""
    results: list[StepResult] = []
    liveness.meet()
    intervals: list[tuple[int, float]] = []
    traced = middle(config.trace_steps if progress.step == 0 else 0, len(steps))
    losses = FiniteLosses(stopwatch.device, first_step=progress.step + 1)
    dist.barrier()
    stopwatch.start()
    engine.start(len(steps))
    first = stopwatch.now()
    for index, batch in zip(steps, batches, strict=True):
        with stopwatch.step(progress.step + len(results) + 1, traced=index in traced):
            result = engine.step(batch)
        results.append(result)
        losses.add(result.loss)
        if index % config.log_every_steps == 0 or index == steps[-1]:
            intervals.append((len(results), stopwatch.now()))
            losses.look()
            if live is not None:
                live.show(progress.step + len(results))
    engine.finish()
    seconds = stopwatch.stop()
    values = losses.values()
    lines = []
    before = 0
    for count, now in intervals if values else []:
        lines.append(
            {
                "epoch": progress.epoch + 1,
                "step": progress.step + count,
                "train_seconds": now,
                "train_loss": sum(values[before:count]) / (count - before),
                "samples_per_second": count * config.batch_size / (now - first),
            }
        )
        before = count
    means, longest = _reduce(results, seconds)
    stopwatch.idle(longest - seconds)
    progress.step += len(steps)
    progress.train_seconds += longest
    progress.phase_seconds[-1] += longest
    return Segment(means, lines)


def _reduce(results: list[StepResult], seconds: float) -> tuple[dict[str, float], float]:
    """Means over all ranks that hold them, and the seconds of the slowest rank.

    What a rule tells of itself counts as it was after its last round, anything else as the mean over steps.
    """
    names = {name for result in results for name in result.scalars}
    told_by_steps = {
        name: [result.scalars[name] for result in results if name in result.scalars] for name in names
    }
    means = {
        name: _mean(values[-1:] if name.startswith(OF_RULES) else values)
        for name, values in told_by_steps.items()
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
