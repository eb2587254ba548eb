"""One rank's whole part in a run: from `run.yaml` to the records."""

from __future__ import annotations

import os
import time

import torch
import torch.distributed as dist

from layerpar import checkpoint
from layerpar.config import RunConfig, load
from layerpar.course import Course, follow
from layerpar.errors import DivergedError, UserError
from layerpar.launch import STARTED_VARIABLE
from layerpar.measure import environment
from layerpar.measure.records import summary, write_json, write_status
from layerpar.measure.stopwatch import Stopwatch
from layerpar.outcome import gather_records, results, save_model
from layerpar.paths import RunDirectory
from layerpar.ranks import join, worker_device
from layerpar.train import Progress


def work(directory: RunDirectory) -> None:
    """Do what the directory's `run.yaml` says, as one of torchrun's workers. Collective."""
    started = float(os.environ.get(STARTED_VARIABLE, time.time()))
    config = load(directory.run_yaml)
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
    """Train as `config` says, or go on from its checkpoint, and leave the records in `directory`. Collective.

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
    course = Course(config, directory, Stopwatch(device), Progress())
    workload, engine = follow(course, ranks, started=started)
    records = gather_records(course.progress, course.stopwatch, engine.assignment)
    state = engine.full_state()
    if state is not None:
        save_model(directory, state)
        measured = results(config, workload, course.progress, records)
        write_json(directory.summary, summary(config, "done", measured))
        write_status(directory, "done")
        checkpoint.remove(directory)
