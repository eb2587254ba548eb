"""One run in the parent process: check, directory, launch, records; and the same from a checkpoint on."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from layerpar import checkpoint
from layerpar.check import check
from layerpar.config import RunConfig, load
from layerpar.datasets.base import DatasetInfo
from layerpar.errors import UserError, require
from layerpar.launchers.base import Interrupted, WorkerError
from layerpar.measure.records import Results, read_status, summary, write_json, write_status
from layerpar.paths import RunDirectory
from layerpar.progress import show_progress


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
    write_json(directory.summary, summary(config, "created", Results()))
    try:
        info = check(config)
    except UserError as error:
        _end(directory, config, "refused", str(error))
        raise
    return launch_and_record(config, info, directory, console, label=label, started=started)


def resume(root: Path, console: Console, *, started: float) -> Outcome:
    """Go on with a run that was stopped, from its last checkpoint.

    Args:
        root: The run's directory.
        console: Where progress is shown.
        started: Unix time at which the command was given.

    Raises:
        UserError: there is nothing to go on with, or the run still goes on.
        Interrupted: the user or the system stopped it again.
    """
    directory = RunDirectory(root.absolute())
    require(
        directory.run_yaml.exists() and directory.status.exists(),
        f"{root} holds no run; try one of the directories that hold a {directory.run_yaml.name}",
    )
    status = read_status(directory)
    reasons = {
        "done": f"is done; try layerpar report {root}",
        "refused": f"never began ({status['message']}); try layerpar train",
        "diverged": f"would diverge again ({status['message']}); try layerpar train",
    }
    require(status["status"] not in reasons, f"{root} {reasons.get(status['status'])}")
    with exclusive_lock(directory):
        folder = checkpoint.newest(directory)
        require(folder is not None, f"{root} has no checkpoint yet; try layerpar train")
        assert folder is not None
        config = load(directory.run_yaml)
        info = check(config)
        offset = checkpoint.cut_metrics(directory, folder)
        write_json(directory.summary, summary(config, "created", Results()))
        write_status(directory, "created", phase="starting")
    label = " → ".join(phase.name for phase in config.parts)
    console.print(f"{label}  goes on after epoch {folder.name} of {config.epochs}", highlight=False)
    return launch_and_record(config, info, directory, console, label=label, started=started, offset=offset)


@contextmanager
def exclusive_lock(directory: RunDirectory) -> Iterator[None]:
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


def launch_and_record(
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
            exclusive_lock(directory),
            show_progress(console, directory, label=label, total_steps=steps, offset=offset),
        ):
            config.launcher.launch(directory, workers=config.num_workers, started=started)
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
