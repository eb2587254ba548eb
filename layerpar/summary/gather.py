"""What all workers measured, brought together for the records."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
import torch.distributed as dist

from layerpar.config import RunConfig
from layerpar.engine.contract import Assignment, Workload
from layerpar.loop import Progress
from layerpar.measure import environment
from layerpar.measure.stopwatch import Stopwatch
from layerpar.rendezvous.ranks import Ranks, this_node
from layerpar.summary.content import RankRecord, Results
from layerpar.transport import link_speed


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
        flops=progress.flops,
        predicted_step_seconds=assignment.predicted_step_seconds if len(progress.assignments) == 1 else None,
        paused_seconds=stopwatch.paused_seconds,
    )
    every: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(every, own)
    return tuple(every)


def gather_environment(device: torch.device, *, via_host: bool) -> dict[str, Any]:
    """The content of `env.json`: the node of worker 0, every other node, every worker, and the link between
    nodes. Collective.

    Nodes are numbers: the name of a host is nobody's business.

    Args:
        device: Of this worker.
        via_host: Messages are copied through the CPU's memory.
    """
    every: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(every, (this_node(), str(device), environment.describe(device)))
    speed = link_speed.measure([node for node, _, _ in every], torch.device("cpu") if via_host else device)
    nodes = {node: found for node, _, found in reversed(every)}
    others = [{"node": node} | nodes[node] for node in sorted(nodes)[1:]]
    workers = [{"rank": rank, "node": node, "device": name} for rank, (node, name, _) in enumerate(every)]
    link = None if speed is None else asdict(speed)
    return every[0][2] | {"workers": workers, "other_nodes": others, "link": link}


def gather_contention(config: RunConfig, ranks: Ranks, *, decodes: bool) -> bool:
    """Whether workers were in each other's way, or other runs in theirs. Collective.

    Args:
        config: The run.
        ranks: Which worker this is.
        decodes: Whether this worker needs images, and so its data set's decode workers.
    """
    busy = config.threads_per_worker + (config.dataset.num_decoders if decodes else 0)
    every: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(every, (this_node(), busy, environment.available_cores(), ranks.shares_device))
    nodes, threads, cores, share = zip(*every, strict=True)
    return not config.launcher.runs_alone or any(share) or environment.is_contended(nodes, threads, cores)


def results(
    config: RunConfig,
    workload: Workload,
    progress: Progress,
    ranks: tuple[RankRecord, ...],
    *,
    contended: bool,
) -> Results:
    """What a finished run measured.

    Args:
        config: The run.
        workload: Of its last phase.
        progress: At its end.
        ranks: Records of all ranks.
        contended: See `gather_contention`.
    """
    accuracies = [accuracy for _, accuracy, _ in progress.evaluations]
    has_split = config.dataset.validation > 0
    assert progress.test_scores is not None
    test_accuracy, test_loss = progress.test_scores
    return Results(
        num_parameters=workload.network.num_parameters,
        num_layers=len(workload.network.layers),
        device=workload.device.type,
        train_seconds=progress.train_seconds,
        samples_per_second=progress.step * config.batch_size / progress.train_seconds,
        test_accuracy=test_accuracy,
        best_test_accuracy=None if has_split else max(accuracies),
        test_loss=test_loss,
        validation_accuracy=accuracies[-1] if has_split else None,
        best_validation_accuracy=max(accuracies) if has_split else None,
        time_to_target_seconds=progress.time_to(config.target_accuracy),
        steps=progress.step,
        start_seconds=progress.start_seconds,
        contended=contended,
        paused_seconds=max(rank.paused_seconds for rank in ranks),
        ranks=ranks,
        phase_seconds=tuple(progress.phase_seconds),
        gradient_evaluations=progress.gradient_evaluations,
        num_updates=progress.updates,
    )
