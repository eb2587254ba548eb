"""The contract of a launcher: it turns the workers of a run into commands, and runs them."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from layerpar.errors import require_at_least
from layerpar.paths import RunDirectory
from layerpar.variables import PARENT, STARTED

SHUTDOWN_SECONDS = 2
"""How long workers have to obey SIGTERM before they are killed."""

KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
"""Lets glibc keep the memory that a step frees for the next step. Else it may give it back to the system
and fetch it again, page by page, several times in a step: up to a tenth of a step on a CPU, or not,
depending on the sizes of the tensors. Peaks of memory grow by a few per cent."""


@dataclass(kw_only=True)
class Launcher:
    """How workers are started. A new one is a subclass in one file, and one YAML.

    Attributes:
        name: The choice, as tables show it.
        timeout_seconds: How long a worker waits for a silent peer before the run fails.
        join_seconds: How long workers may take to find each other.
        runs_alone: No other run has a share of the machines; else its seconds are marked contended.
    """

    name: str
    timeout_seconds: int
    join_seconds: int
    runs_alone: bool

    def __post_init__(self) -> None:
        require_at_least("launcher.timeout_seconds", self.timeout_seconds, 1)
        require_at_least("launcher.join_seconds", self.join_seconds, 1)

    @property
    def uses_this_machine(self) -> bool:
        """Whether workers run here, so that devices can be checked before anything starts."""
        return True

    def check(self, workers: int) -> None:
        """Refuse a number of workers that cannot be started so.

        Raises:
            UserError: what is wrong, and the override that repairs it.
        """

    def launch(self, directory: RunDirectory, *, workers: int, started: float) -> None:
        """Start the workers on `directory` and wait for them. Leaves none behind, however it ends.

        Args:
            directory: Holds `run.yaml`.
            workers: How many.
            started: Unix time at which the command was given.

        Raises:
            WorkerError: a worker raised, was killed or fell silent.
            Interrupted: a signal arrived that ends the run.
        """
        raise NotImplementedError


class WorkerError(Exception):
    """A worker died: which one (None where the command for all of them did), where, why, and its log."""

    def __init__(self, rank: int | None, cause: str, log: str, *, host: str | None = None) -> None:
        who = "the launcher's command" if rank is None else f"worker {rank}"
        place = "" if host is None else f" on {host}"
        super().__init__(f"{who}{place} {cause}; its log: {log}")
        self.rank = rank or 0


class Interrupted(BaseException):
    """The user, or the system, told us to stop. No job may follow."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.exit_code = 128 + number


def worker_command(directory: RunDirectory) -> list[str]:
    """The command of one worker. `-P` keeps the current folder from hiding modules of the libraries."""
    return [sys.executable, "-P", "-u", "-m", "layerpar.worker", str(directory.root)]


def worker_environment(started: float) -> dict[str, str]:
    """What every worker finds in its environment; of `KEEP_MEMORY` what the user has set stays.

    Args:
        started: Unix time at which the command was given.
    """
    kept = {name: os.environ.get(name, value) for name, value in KEEP_MEMORY.items()}
    return kept | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": python_path(),
        PARENT: "0",
        STARTED: str(started),
    }


def python_path() -> str:
    """The user's PYTHONPATH, and behind it the checkout that this package was imported from, if it was."""
    package = Path(__file__).resolve().parents[2]
    own = "" if package.name in ("site-packages", "dist-packages") else str(package)
    return os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), own]))


def rank_environment(rank: int, *, world_size: int, local_rank: int, local_world_size: int) -> dict[str, str]:
    """Which worker it is, in the variables that torchrun sets too."""
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_RANK": str(local_rank),
        "LOCAL_WORLD_SIZE": str(local_world_size),
    }
