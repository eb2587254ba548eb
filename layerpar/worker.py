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

import torch
import torch._dynamo  # torch.optim would at its first use: here all workers do so at the same time
import torch.distributed as dist
from omegaconf import DictConfig, OmegaConf
from torch.distributed.elastic.multiprocessing.errors import record

from layerpar.config import Phase, RunConfig, parse
from layerpar.datasets.base import Loader
from layerpar.errors import DivergedError, UserError
from layerpar.launch import STARTED_VARIABLE
from layerpar.measure import environment
from layerpar.measure.records import MetricsLog, summary, way, write_json, write_status
from layerpar.measure.stopwatch import Stopwatch
from layerpar.modes.base import Engine
from layerpar.outcome import gather_records, results, save_model, write_trace
from layerpar.paths import RunDirectory
from layerpar.phases import assemble, bequeath
from layerpar.ranks import join, worker_device
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
    stopwatch, progress = Stopwatch(device), Progress()
    legacy = None
    for index, phase in enumerate(config.parts):
        workload, engine, loader = assemble(config, ranks, stopwatch, phase=index, legacy=legacy)
        if engine.owner:
            write_status(directory, "running", phase=_doing(config, phase, "warmup"))
        warm_up(engine, loader, steps=config.warmup_steps)
        environment.reset_peak_memory(device)
        if index == 0:
            progress.start_seconds = time.time() - started
        _train(config, phase, engine, loader, stopwatch, progress, directory)
        progress.peak_memory_bytes = max(progress.peak_memory_bytes, environment.peak_memory_bytes(device))
        if index + 1 < len(config.parts):
            legacy = bequeath(config, index, engine)
    records = gather_records(progress, stopwatch, engine.place)
    state = engine.full_state()
    if state is not None:
        save_model(directory, state)
        write_json(directory.summary, summary(config, "done", results(config, workload, progress, records)))
        write_status(directory, "done")


def _train(
    config: RunConfig,
    phase: Phase,
    engine: Engine,
    loader: Loader,
    stopwatch: Stopwatch,
    progress: Progress,
    directory: RunDirectory,
) -> None:
    """The epochs of a phase, each with an evaluation. Collective. Advances `progress`."""
    log = MetricsLog(directory, tensorboard=config.tensorboard) if engine.owner else None
    progress.places.append((engine.place.block, engine.place.layers))
    progress.phase_seconds.append(0.0)
    if log is not None and config.phases:
        at = {"epoch": progress.epoch, "train_seconds": progress.train_seconds}
        log.write("phase", name=phase.name, **way(phase.config), **at)
    if log is not None and engine.notes:
        log.write("engine", **engine.notes)
    for _ in range(phase.config.epochs):
        if engine.owner:
            write_status(directory, "running", phase=_doing(config, phase, "training"))
        means = train_epoch(engine, loader, config, progress, stopwatch=stopwatch, log=log)
        if config.trace_steps and progress.epoch == 1:
            write_trace(directory, engine.place, stopwatch)
        if engine.owner:
            write_status(directory, "running", phase=_doing(config, phase, "evaluating"))
        accuracy, test_loss = evaluate(engine, loader)
        progress.evaluations.append((progress.train_seconds, accuracy, test_loss))
        if log is not None:
            log.write(
                "evaluate",
                epoch=progress.epoch,
                step=progress.step,
                train_seconds=progress.train_seconds,
                samples_per_second=progress.step * config.batch_size / progress.train_seconds,
                test_accuracy=accuracy,
                test_loss=test_loss,
                **({"phase": phase.name} if config.phases else {}),
                **means,
            )
    if log is not None:
        log.close()


def _doing(config: RunConfig, phase: Phase, what: str) -> str:
    return f"{phase.name}: {what}" if config.phases else what


def _die_with_parent() -> None:
    """Leave interrupting to the parent, and never outlive it (Linux can tell the kernel so)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
