"""What all workers measured, brought together for the records."""

from __future__ import annotations

import os
from typing import Any

import torch.distributed as dist

from layerpar.config import RunConfig
from layerpar.engine.contract import Assignment, Workload
from layerpar.measure import environment
from layerpar.measure.records import RankRecord, Results
from layerpar.measure.stopwatch import Stopwatch
from layerpar.train import Progress


def gather_ranks(progress: Progress, stopwatch: Stopwatch, assignment: Assignment) -> tuple[RankRecord, ...]:
    """What each worker did, by rank. Collective.

    Args:
        progress: At the end of the run.
        stopwatch: This rank's.
        assignment: What this rank trained in the last phase.
    """
    blocks, layers = (" → ".join(assignments) for assignments in zip(*progress.assignments, strict=True))
    own = RankRecord(
        rank=dist.get_rank(),
        block=blocks,
        layers=layers,
        busy_seconds=stopwatch.busy_seconds,
        wait_seconds=stopwatch.wait_seconds,
        exchange_seconds=stopwatch.exchange_seconds,
        cpu_seconds=stopwatch.cpu_seconds,
        sent_bytes=stopwatch.sent_bytes,
        peak_memory_bytes=progress.peak_memory_bytes,
        idle_memory_bytes=stopwatch.idle_memory_bytes,
        predicted_step_seconds=assignment.predicted_step_seconds if len(progress.assignments) == 1 else None,
    )
    every: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(every, own)
    return tuple(every)


def results(
    config: RunConfig, workload: Workload, progress: Progress, ranks: tuple[RankRecord, ...]
) -> Results:
    """What a finished run measured.

    Args:
        config: The run.
        workload: Of its last phase.
        progress: At its end.
        ranks: Records of all ranks.
    """
    accuracies = [accuracy for _, accuracy, _ in progress.evaluations]
    return Results(
        num_parameters=workload.network.num_parameters,
        num_layers=len(workload.network.layers),
        device=workload.device.type,
        train_seconds=progress.train_seconds,
        samples_per_second=progress.step * config.batch_size / progress.train_seconds,
        test_accuracy=accuracies[-1],
        best_test_accuracy=max(accuracies),
        test_loss=progress.evaluations[-1][2],
        time_to_target_seconds=progress.time_to(config.target_accuracy),
        steps=progress.step,
        start_seconds=progress.start_seconds,
        contended=not config.launcher.runs_alone
        or environment.is_contended(
            workload.device,
            workers=int(os.environ["LOCAL_WORLD_SIZE"]),
            threads_per_worker=config.threads_per_worker,
        ),
        ranks=ranks,
        phase_seconds=tuple(progress.phase_seconds),
    )
