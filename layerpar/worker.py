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

from layerpar import checkpoint
from layerpar.config import RunConfig, parse
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
    records = gather_records(course.progress, course.stopwatch, engine.place)
    state = engine.full_state()
    if state is not None:
        save_model(directory, state)
        measured = results(config, workload, course.progress, records)
        write_json(directory.summary, summary(config, "done", measured))
        write_status(directory, "done")
        checkpoint.remove(directory)


def _die_with_parent() -> None:
    """Leave interrupting to the parent, and never outlive it (Linux can tell the kernel so)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
