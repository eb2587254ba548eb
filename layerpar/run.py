"""One run in the parent process: check it, prepare its directory, launch its workers, record how they end."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from layerpar import checkpoint
from layerpar.check import check
from layerpar.config import RunConfig
from layerpar.errors import UserError
from layerpar.launchers.base import Interrupted, WorkerError
from layerpar.measure.status import exclusive_lock, read_status, write_status
from layerpar.measure.writing import naming, write_json, write_text
from layerpar.paths import RunDirectory
from layerpar.progress import show_progress
from layerpar.summary.content import Results, summary

FULL_BYTES = 2**16
"""A disk with less room than this is full: no message of a worker that died of it can be counted on."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        directory: The run's.
        status: done, failed, diverged or refused.
        message: What went wrong, None if nothing did.
        before: It had ended so before, and nothing was done now.
    """

    directory: RunDirectory
    status: str
    message: str | None
    before: bool = False


def execute(
    config: RunConfig,
    composed: DictConfig,
    root: Path,
    console: Console,
    *,
    label: str,
    started: float,
    composition: Mapping[str, str] | None = None,
) -> Outcome:
    """Check, prepare the directory, launch the workers, and leave a status and a summary whatever happens.

    Where the directory holds this very run, go on with it: what is done stays, what has a checkpoint is
    resumed, anything else is begun anew.

    Args:
        config: The run.
        composed: The same, as composed; becomes `run.yaml`.
        root: The run's directory.
        console: Where progress is shown.
        label: Names the run there.
        started: Unix time at which the command was given.
        composition: What Hydra composed, by the name of its file in `.hydra/`.

    Raises:
        UserError: the run cannot work, or the directory holds another one; nothing was started or changed.
        Interrupted: the user or the system stopped it; the status says so and no worker is left.
    """
    directory = RunDirectory(root.absolute())
    directory.root.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(directory):
        ended = _earlier(directory, composed)
        if ended is not None:
            return ended
        folder = checkpoint.newest(directory)
        if folder is not None:
            return go_on(config, directory, folder, console, label=label, started=started)
        if directory.run_yaml.exists():
            _clear_incomplete(directory)
        write_status(directory, "created", phase="starting")
        write_text(directory.run_yaml, OmegaConf.to_yaml(composed, resolve=True))
        write_json(directory.summary, summary(config, "created", Results()))
        if composition is not None:
            directory.hydra.mkdir(exist_ok=True)
            for name, text in composition.items():
                with naming(directory.hydra / name):
                    (directory.hydra / name).write_text(text)
        try:
            steps = _num_steps(config)
        except UserError as error:
            _end(directory, config, "refused", str(error))
            raise
        return _launch_and_record(config, directory, console, label=label, steps=steps, started=started)


def _earlier(directory: RunDirectory, composed: DictConfig) -> Outcome | None:
    """How the run that a directory holds has ended; None where there is something to do."""
    if not directory.run_yaml.exists() or not directory.status.exists():
        return None
    status = read_status(directory)
    if status["status"] == "refused":
        return None
    if OmegaConf.load(directory.run_yaml) != composed:
        advice = "try hydra.run.dir=ANOTHER"
        if checkpoint.newest(directory) is not None:
            advice += f", or layerpar resume {quote(str(directory.root))}"
        raise UserError(f"{directory.root} already holds another run; {advice}")
    if status["status"] in ("done", "diverged"):
        return Outcome(directory, status["status"], status["message"], before=True)
    return None


def go_on(
    config: RunConfig,
    directory: RunDirectory,
    folder: Path,
    console: Console,
    *,
    label: str,
    started: float,
    changed: DictConfig | None = None,
) -> Outcome:
    """From a checkpoint on, in a directory that is locked; with `changed` settings, if any."""
    checkpoint.verify(folder, of=checkpoint.identity(config))
    steps = _num_steps(config)
    offset = checkpoint.cut_metrics(directory, folder)
    if changed is not None:
        write_text(directory.run_yaml, OmegaConf.to_yaml(changed, resolve=True))
    checkpoint.clear_unfinished(directory)
    shutil.rmtree(directory.logs, ignore_errors=True)  # an old error would name the wrong worker
    directory.live.unlink(missing_ok=True)
    write_json(directory.summary, summary(config, "created", Results()))
    write_status(directory, "created", phase="starting")
    console.print(
        f"{label}  goes on after epoch {folder.name} of {config.epochs}", markup=False, highlight=False
    )
    return _launch_and_record(
        config, directory, console, label=label, steps=steps, started=started, offset=offset
    )


def _clear_incomplete(directory: RunDirectory) -> None:
    """Remove what an attempt without a checkpoint has left; it is begun anew."""
    checkpoint.clear_unfinished(directory)
    for path in (directory.logs, directory.logger):
        shutil.rmtree(path, ignore_errors=True)
    for path in (
        directory.live,
        directory.metrics,
        directory.summary,
        directory.environment,
        directory.trace,
        directory.model,
    ):
        path.unlink(missing_ok=True)


def _num_steps(config: RunConfig) -> int | None:
    """Optimizer steps of a run that can work; None where only its workers can tell.

    Raises:
        UserError: it cannot.
    """
    info = check(config)
    return None if info is None else config.epochs * (info.num_train // config.batch_size)


def _launch_and_record(
    config: RunConfig,
    directory: RunDirectory,
    console: Console,
    *,
    label: str,
    steps: int | None,
    started: float,
    offset: int = 0,
) -> Outcome:
    """Launch the workers on a prepared directory that is locked, and write down how they end.

    Once the status is `done` nothing changes it: what dies afterwards has done its work.

    Args:
        config: The run.
        directory: The run's.
        console: Where progress is shown.
        label: Names the run there.
        steps: Optimizer steps of the whole run; None where only workers can tell.
        started: Unix time at which the command was given.
        offset: Bytes of `metrics.jsonl` that were there before.

    Raises:
        Interrupted: the user or the system stopped it; the status says so and no worker is left.
    """
    try:
        with show_progress(console, directory, label=label, total_steps=steps, offset=offset):
            config.launcher.launch(directory, workers=config.num_workers, started=started)
    except Interrupted as error:
        if not _is_done(directory, config):
            _end(directory, config, "interrupted", str(error))
        raise
    except WorkerError as error:
        failure = error
    else:
        failure = WorkerError(None, "ended without having finished the run", str(directory.logs))
    if _is_done(directory, config):
        return Outcome(directory, "done", None)
    return _failed(directory, config, failure)


def _is_done(directory: RunDirectory, config: RunConfig) -> bool:
    done = read_status(directory)["status"] == "done"
    if done and not config.keep_checkpoint:
        checkpoint.remove(directory)  # the worker that does so may have died before
    return done


def _failed(directory: RunDirectory, config: RunConfig, error: WorkerError) -> Outcome:
    last = read_status(directory)
    if last["status"] == "diverged":
        write_json(directory.summary, summary(config, "diverged", Results()))
        return Outcome(directory, "diverged", last["message"])
    message = str(error)
    if shutil.disk_usage(directory.root).free < FULL_BYTES:
        message = f"the disk of {directory.root} is full; free some of it"
    _end(directory, config, "failed", message, rank=error.rank)
    return Outcome(directory, "failed", message)


def _end(directory: RunDirectory, config: RunConfig, status: str, message: str, **details: int) -> None:
    """Write how a run ended, on a full disk into the room that what it left unfinished takes."""
    checkpoint.clear_unfinished(directory)
    write_status(directory, status, message=message, **details)
    write_json(directory.summary, summary(config, status, Results()))
