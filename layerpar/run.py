"""One run, from a typed configuration to a finished directory; in the parent process."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from layerpar.architectures.base import Network
from layerpar.config import RunConfig
from layerpar.datasets.base import DatasetInfo
from layerpar.errors import UserError, require
from layerpar.launch import Interrupted, WorkerError, launch
from layerpar.measure.board import check_installed
from layerpar.measure.records import Results, read_status, summary, write_json, write_status
from layerpar.paths import RunDirectory
from layerpar.progress import show_progress
from layerpar.ranks import worker_device


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        directory: The run's.
        status: done, failed or diverged.
        message: What went wrong, None if nothing did.
    """

    directory: RunDirectory
    status: str
    message: str | None


def check(config: RunConfig) -> DatasetInfo:
    """Refuse what cannot work, before anything starts.

    Raises:
        UserError: what is wrong, and the override that repairs it.
    """
    worker_device(config.device, local_rank=0)
    info = config.dataset.info()
    require(
        config.batch_size <= info.num_train,
        f"batch_size={config.batch_size} is larger than the {info.num_train} training samples of "
        f"{config.dataset.name}; try batch_size={info.num_train}",
    )
    if config.tensorboard:
        check_installed()
    most = info.num_train // config.batch_size
    require(
        config.trace_steps <= most,
        f"trace_steps={config.trace_steps} is more than the {most} steps of an epoch; try trace_steps={most}",
    )
    for phase in config.parts:
        with phase.naming():
            if config.compile:
                _check_compile(phase.config)
            phase.config.mode.check(phase.config, info, meta_network(config, info))
    return info


def _check_compile(config: RunConfig) -> None:
    name, compiler = config.mode.name, os.environ.get("CXX", "g++")
    require(
        config.mode.compiles,
        f"{name}: compile=true compiles whole networks and stages, {name} has neither; try compile=false",
    )
    require(
        config.warmup_steps >= 1,
        "compile=true needs warm-up steps, else it compiles while the clock runs; try warmup_steps=5",
    )
    require(
        shutil.which(compiler) is not None,
        f"compile=true needs a C++ compiler, and there is no {compiler}; try compile=false",
    )


def meta_network(config: RunConfig, info: DatasetInfo) -> Callable[[], Network]:
    """Makes the network on the meta device: layers and sizes without memory."""

    def build() -> Network:
        with torch.device("meta"):
            return config.architecture.build(info.input_shape, info.num_classes)

    return build


def execute(
    config: RunConfig, composed: DictConfig, root: Path, console: Console, *, label: str, started: float
) -> Outcome:
    """Check, prepare the directory, launch the workers, and leave a status and a summary whatever happens.

    Args:
        config: The run.
        composed: The same, as composed; becomes `run.yaml`.
        root: The run's directory.
        console: Where progress is shown.
        label: Names the run there.
        started: Unix time at which the command was given.

    Raises:
        UserError: the run cannot work; nothing was started.
        Interrupted: the user or the system stopped it; the status says so and no worker is left.
    """
    directory = RunDirectory(root.absolute())
    taken = directory.run_yaml.exists() and read_status(directory)["status"] != "refused"
    require(not taken, f"{root} already holds a run; try hydra.run.dir=ANOTHER")
    directory.root.mkdir(parents=True, exist_ok=True)
    write_status(directory, "created", phase="starting")
    OmegaConf.save(composed, directory.run_yaml, resolve=True)
    try:
        info = check(config)
    except UserError as error:
        _end(directory, config, "refused", str(error))
        raise
    return carry_out(config, info, directory, console, label=label, started=started)


@contextmanager
def alone(directory: RunDirectory) -> Iterator[None]:
    """Within, no other process runs this directory; the system takes the lock back however we end.

    Raises:
        UserError: another does.
    """
    with directory.run_yaml.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{directory.root} is still running; try again once it has ended") from None
        yield


def carry_out(
    config: RunConfig,
    info: DatasetInfo,
    directory: RunDirectory,
    console: Console,
    *,
    label: str,
    started: float,
    offset: int = 0,
) -> Outcome:
    """Launch the workers on a prepared directory; `offset` bytes of its metrics were there before.

    Raises:
        UserError: another process runs this directory.
        Interrupted: the user or the system stopped it; the status says so and no worker is left.
    """
    steps = config.epochs * (info.num_train // config.batch_size)
    try:
        with (
            alone(directory),
            show_progress(console, directory, label=label, total_steps=steps, offset=offset),
        ):
            launch(config.launcher, directory, workers=config.num_workers, started=started)
    except Interrupted as error:
        _end(directory, config, "interrupted", str(error))
        raise
    except WorkerError as error:
        return _failed(directory, config, error)
    return Outcome(directory, "done", None)


def _failed(directory: RunDirectory, config: RunConfig, error: WorkerError) -> Outcome:
    last = read_status(directory)
    if last["status"] == "diverged":
        write_json(directory.summary, summary(config, "diverged", Results()))
        return Outcome(directory, "diverged", last["message"])
    _end(directory, config, "failed", str(error), rank=error.rank)
    return Outcome(directory, "failed", str(error))


def _end(directory: RunDirectory, config: RunConfig, status: str, message: str, **details: int) -> None:
    write_status(directory, status, message=message, **details)
    write_json(directory.summary, summary(config, status, Results()))
