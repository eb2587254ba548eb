"""Folders for a while that only this user can read, and what killed processes have left of them."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

PREFIX = "layerpar-"
OWNER = "owner"
"""A file that the owner of a folder locks; the system takes the lock back however the owner ends."""
LEAST_AGE_SECONDS = 60
"""A younger folder may not have its lock yet."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder beside the system's other temporary ones, gone when the block ends.

    Where the process is killed before that, the next call in another process removes it.
    """
    _sweep()
    with TemporaryDirectory(prefix=PREFIX) as folder, Path(folder, OWNER).open("w") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        yield Path(folder)


def _sweep() -> None:
    """Remove what others of this user have left whose owner is gone."""
    for folder in Path(gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = folder.lstat()
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < LEAST_AGE_SECONDS:
                continue
            with (folder / OWNER).open() as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
