"""Where a run stands, in `status.json`, and the lock of whoever runs it."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from layerpar.errors import UserError, require
from layerpar.measure.writing import overwrite_json
from layerpar.paths import RunDirectory

ALIVE = ("created", "running")
"""What a run's status says while its process lives."""

LOCK_SECONDS = 0.5
"""How long a lock is asked for: somebody who only looks whether it is held lets it go at once."""


def write_status(directory: RunDirectory, status: str, **details: Any) -> None:
    """Say where the run stands.

    Args:
        directory: The run's.
        status: created, running, done, failed, interrupted, diverged or refused.
        details: `phase` while it runs (what it is doing, such as `evaluating`); `message`, `rank` or `step`
            once it ended badly.

    Raises:
        OSError: it cannot be written, not even over what it said before.
    """
    overwrite_json(directory.status, {"status": status, "phase": None, "message": None} | details)


def read_status(directory: RunDirectory) -> dict[str, Any]:
    """The last `write_status`."""
    return json.loads(directory.status.read_text())


def current_status(directory: RunDirectory) -> dict[str, Any]:
    """The last `write_status`, but `stopped` where the process that wrote it ended without a word.

    Whoever runs a directory holds its lock, which the system takes back however a process ends.
    """
    status = read_status(directory)
    if status["status"] not in ALIVE or is_locked(directory):
        return status
    again = read_status(directory)  # it may have ended well in between
    if again["status"] not in ALIVE:
        return again
    return again | {"status": "stopped", "phase": None, "message": "its process ended without a word"}


@contextmanager
def exclusive_lock(directory: RunDirectory) -> Iterator[None]:
    """Within, no other process runs this directory, which exists; the system takes the lock back at our end.

    Raises:
        UserError: another process holds it.
    """
    with directory.lock.open("a") as file:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _lock(file, fcntl.LOCK_EX):
            require(
                time.monotonic() < deadline, f"{directory.root} is still running; try again once it has ended"
            )
            time.sleep(0.02)
        yield


def is_locked(directory: RunDirectory) -> bool:
    """Whether a process runs this directory."""
    try:
        with directory.lock.open() as file:
            return not _lock(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise UserError(
            f"{file.name} cannot be locked ({error.strerror}); try hydra.run.dir=… on another file system"
        ) from error
    return True
