"""The workers of one run, from their start until it is written down how they ended; in the parent process."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from rich.console import Console

from layerpar import checkpoint
from layerpar.config import RunConfig
from layerpar.launchers.base import Interrupted, WorkerError
from layerpar.measure.status import read_status, write_status
from layerpar.measure.writing import write_json
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


def launch_and_record(
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
            end(directory, config, "interrupted", str(error))
        raise
    except WorkerError as error:
        if not _is_done(directory, config):
            return _failed(directory, config, error)
    _is_done(directory, config)
    return Outcome(directory, "done", None)


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
    end(directory, config, "failed", message, rank=error.rank)
    return Outcome(directory, "failed", message)


def end(directory: RunDirectory, config: RunConfig, status: str, message: str, **details: int) -> None:
    """Write how a run ended, on a full disk into the room that what it left unfinished takes."""
    checkpoint.clear_unfinished(directory)
    write_status(directory, status, message=message, **details)
    write_json(directory.summary, summary(config, status, Results()))
