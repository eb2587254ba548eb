"""One worker: everything it needs is in one run directory.

    torchrun --nproc-per-node 2 -m layerpar.worker RUN_DIR

repeats by hand what `layerpar train` starts.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # torch.optim would at its first use: here all workers do so at the same time
import torch.distributed as dist
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.distributed.elastic.multiprocessing.errors import record

from layerpar.config import RunConfig, parse
from layerpar.datasets.base import Loader, Request
from layerpar.errors import DivergedError, UserError
from layerpar.launch import STARTED_VARIABLE
from layerpar.measure import environment
from layerpar.measure.records import (
    MetricsLog,
    RankRecord,
    Results,
    summary,
    write_json,
    write_status,
)
from layerpar.measure.stopwatch import Stopwatch
from layerpar.modes.base import Engine, Workload
from layerpar.paths import RunDirectory
from layerpar.ranks import Ranks, join, worker_device
from layerpar.train import Progress, evaluate, train_epoch, warm_up

PR_SET_PDEATHSIG = 1


@record
def main() -> None:
    """Entry point of `python -m layerpar.worker RUN_DIR`, started by torchrun's agent."""
    _die_with_parent()
    started = float(os.environ.get(STARTED_VARIABLE, time.time()))
    directory = RunDirectory(Path(sys.argv[1]))
    loaded = OmegaConf.load(directory.run_yaml)
    assert isinstance(loaded, DictConfig)
    config = parse(loaded)
    if int(os.environ["WORLD_SIZE"]) != config.num_workers:
        raise UserError(
            f"run.yaml wants {config.num_workers} workers; try --nproc-per-node {config.num_workers}"
        )
    torch.set_num_threads(config.threads_per_worker)
    try:
        run(config, directory, started=started)
    except DivergedError as error:
        write_status(directory, "diverged", message=str(error), step=error.step)
        raise
    dist.destroy_process_group()


def run(config: RunConfig, directory: RunDirectory, *, started: float) -> None:
    """Train as `config` says and leave the records in `directory`. Collective.

    Args:
        config: The run.
        directory: Where to.
        started: Unix time at which the command was given, for `start_seconds`.
    """
    device = worker_device(config.device, int(os.environ["LOCAL_RANK"]))
    ranks = join(device, timeout_seconds=config.launcher.timeout_seconds)
    if ranks.rank == 0:
        write_status(directory, "running", phase="measuring")
        write_json(directory.environment, environment.describe(device))
    workload, engine, loader = assemble(config, ranks, device)
    if engine.owner:
        write_status(directory, "running", phase="warmup")
    warm_up(engine, loader, steps=config.warmup_steps)
    environment.reset_peak_memory(device)
    start_seconds = time.time() - started
    progress = _epochs(config, engine, loader, workload.stopwatch, directory)
    records = _gather(engine, workload.stopwatch, ranks.rank)
    state = engine.full_state()
    if state is not None:
        _save(directory, state)
        results = _results(config, workload, progress, records, start_seconds=start_seconds)
        write_json(directory.summary, summary(config, "done", results))
        write_status(directory, "done")


def assemble(config: RunConfig, ranks: Ranks, device: torch.device) -> tuple[Workload, Engine, Loader]:
    """Everything that trains, on this rank: same weights and same batches in every mode. Collective."""
    facts = config.dataset.facts()
    network = config.architecture.create(facts.input_shape, facts.num_classes, seed=config.seed)
    network.plain.to(device)
    steps = config.epochs * (facts.num_train // config.batch_size)
    workload = Workload(config, network, facts, ranks, device, steps, Stopwatch(device))
    engine = config.mode.engine(workload)
    request = Request(
        seed=config.seed,
        batch_size=config.batch_size,
        shard=engine.shard,
        images=engine.reads_images,
        device=device,
        channels_last=config.architecture.channels_last,
    )
    return workload, engine, config.dataset.loader(request)


def _epochs(
    config: RunConfig, engine: Engine, loader: Loader, stopwatch: Stopwatch, directory: RunDirectory
) -> Progress:
    log = MetricsLog(directory) if engine.owner else None
    progress = Progress()
    if log is not None and engine.notes:
        log.write("engine", **engine.notes)
    for epoch in range(config.epochs):
        if engine.owner:
            write_status(directory, "running", phase="training")
        means = train_epoch(engine, loader, config, progress, epoch=epoch, stopwatch=stopwatch, log=log)
        if engine.owner:
            write_status(directory, "running", phase="evaluating")
        scores = evaluate(engine, loader)
        if scores is not None and log is not None:
            accuracy, test_loss = scores
            progress.evaluations.append((progress.train_seconds, accuracy, test_loss))
            log.write(
                "evaluate",
                epoch=epoch + 1,
                step=progress.step,
                train_seconds=progress.train_seconds,
                samples_per_second=progress.step * config.batch_size / progress.train_seconds,
                test_accuracy=accuracy,
                test_loss=test_loss,
                **means,
            )
    return progress


def _save(directory: RunDirectory, state: dict[str, Tensor]) -> None:
    temporary = directory.model.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(directory.model)


def _results(
    config: RunConfig,
    workload: Workload,
    progress: Progress,
    records: tuple[RankRecord, ...],
    *,
    start_seconds: float,
) -> Results:
    accuracies = [accuracy for _, accuracy, _ in progress.evaluations]
    return Results(
        num_parameters=workload.network.num_parameters,
        device=workload.device.type,
        train_seconds=progress.train_seconds,
        samples_per_second=progress.step * config.batch_size / progress.train_seconds,
        test_accuracy=accuracies[-1],
        best_test_accuracy=max(accuracies),
        test_loss=progress.evaluations[-1][2],
        time_to_target_seconds=progress.time_to(config.target_accuracy),
        steps=progress.step,
        start_seconds=start_seconds,
        contended=environment.is_contended(
            workload.device,
            workers=int(os.environ["LOCAL_WORLD_SIZE"]),
            threads_per_worker=config.threads_per_worker,
        ),
        ranks=records,
    )


def _gather(engine: Engine, stopwatch: Stopwatch, rank: int) -> tuple[RankRecord, ...]:
    own = RankRecord(
        rank=rank,
        block=engine.place.block,
        layers=engine.place.layers,
        busy_seconds=stopwatch.busy_seconds,
        wait_seconds=stopwatch.wait_seconds,
        sent_bytes=stopwatch.sent_bytes,
        peak_memory_bytes=environment.peak_memory_bytes(stopwatch.device),
    )
    every: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(every, own)
    return tuple(every)


def _die_with_parent() -> None:
    """Leave interrupting to the parent, and never outlive it (Linux can tell the kernel so)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
