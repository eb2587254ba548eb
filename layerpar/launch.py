"""From a run directory to worker processes and back, through the agent that `torchrun` itself uses."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from layerpar.errors import require, require_at_least
from layerpar.paths import RunDirectory

STARTED_VARIABLE = "LAYERPAR_STARTED"
"""Environment variable that tells workers the Unix time at which the command was given."""

KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
"""Lets glibc keep the memory that a step frees for the next step. Else it may give it back to the system
and fetch it again, page by page, several times in a step: up to a tenth of a step on a CPU, or not,
depending on the sizes of the tensors. Peaks of memory grow by a few per cent."""

SHUTDOWN_SECONDS = 3
"""How long the agent waits for workers to obey SIGTERM before it kills them."""


@dataclass(kw_only=True)
class Launcher:
    """How workers find each other.

    Attributes:
        name: The choice, as tables show it.
        rendezvous_endpoint: host:port where workers meet; port 0 picks a free one.
        interface: Network interface for gloo; null means loopback where the endpoint is there, else what
            gloo chooses.
        timeout_seconds: How long a worker waits for a silent peer before the run fails.
        runs_alone: No other run has a share of this machine; else its seconds are marked contended.
    """

    name: str
    rendezvous_endpoint: str
    interface: str | None
    timeout_seconds: int
    runs_alone: bool

    def __post_init__(self) -> None:
        key, host = "launcher.rendezvous_endpoint", self.rendezvous_endpoint.partition(":")
        require(
            bool(host[0]) and host[2].isdigit(),
            f"{key}={self.rendezvous_endpoint} is not HOST:PORT; try {key}=localhost:0",
        )
        require_at_least("launcher.timeout_seconds", self.timeout_seconds, 1)

    def network_interface(self) -> str | None:
        """The interface to bind gloo to, None to let it choose."""
        if self.interface is None and self.rendezvous_endpoint.startswith(("localhost:", "127.")):
            return "lo0" if sys.platform == "darwin" else "lo"
        return self.interface

    def environment(self, started: float) -> dict[str, str]:
        """What is set in every worker's environment; of `KEEP_MEMORY` what the user has set stays.

        Args:
            started: Unix time at which the command was given.
        """
        variables = {
            **{name: os.environ.get(name, value) for name, value in KEEP_MEMORY.items()},
            "OMP_NUM_THREADS": "1",
            "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(SHUTDOWN_SECONDS),
            STARTED_VARIABLE: str(started),
        }
        interface = self.network_interface()
        return variables if interface is None else variables | {"GLOO_SOCKET_IFNAME": interface}


class WorkerError(Exception):
    """A worker died: which one, why, and where its log is."""

    def __init__(self, rank: int, cause: str, log: str) -> None:
        super().__init__(f"worker {rank} {cause}; its log: {log}")
        self.rank = rank


class Interrupted(BaseException):
    """The user, or the system, told us to stop. No job may follow."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.exit_code = 128 + number


def launch(launcher: Launcher, directory: RunDirectory, *, workers: int, started: float) -> None:
    """Start `workers` processes on `directory` and wait for them. Leaves none behind, however it ends.

    Args:
        launcher: How workers find each other.
        directory: Holds `run.yaml`.
        workers: Processes on this machine.
        started: Unix time at which the command was given.

    Raises:
        WorkerError: a worker raised or was killed.
        Interrupted: SIGINT, SIGTERM or SIGHUP arrived.
    """
    from torch.distributed.elastic.multiprocessing.api import LogsDest, LogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    class RankLogs(LogsSpecs):
        """`logs/RANK/{stdout,stderr}.log` in the run directory, and the file for the worker's exception."""

        def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
            folders = {rank: directory.log(int(env["RANK"])) for rank, env in envs.items()}
            errors = {rank: str(folder / "error.json") for rank, folder in folders.items()}
            for rank, folder in folders.items():
                folder.mkdir(parents=True, exist_ok=True)
                envs[rank]["TORCHELASTIC_ERROR_FILE"] = errors[rank]
            return LogsDest(
                stdouts={rank: str(folder / "stdout.log") for rank, folder in folders.items()},
                stderrs={rank: str(folder / "stderr.log") for rank, folder in folders.items()},
                tee_stdouts=dict.fromkeys(folders, ""),
                tee_stderrs=dict.fromkeys(folders, ""),
                error_files=errors,
            )

        @property
        def root_log_dir(self) -> str:
            return str(directory.root / "logs")

    try:
        with _environment(launcher.environment(started)), _interruptible():
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=workers,
                run_id=directory.root.name,
                rdzv_backend="c10d",
                rdzv_endpoint=launcher.rendezvous_endpoint,
                max_restarts=0,
                monitor_interval=0.05,
                logs_specs=RankLogs(),
                signals_to_handle="SIGTERM,SIGHUP",
                local_addr=launcher.rendezvous_endpoint.partition(":")[0],
            )
            elastic_launch(config, sys.executable)("-u", "-m", "layerpar.worker", str(directory.root))
    except SignalException as error:
        raise Interrupted(int(error.sigval)) from None
    except KeyboardInterrupt:
        raise Interrupted(signal.SIGINT) from None
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise WorkerError(rank, _cause(failure), str(directory.log(rank) / "stderr.log")) from None


def _cause(failure: Any) -> str:
    if failure.exitcode < 0:
        return f"was killed by {failure.signal_name()}"
    message = failure.message
    if isinstance(message, dict):
        message = message.get("message", "")
    lines = [line for line in str(message).splitlines() if line.strip()]
    return f"failed: {lines[-1].strip()}" if lines else f"ended with exit code {failure.exitcode}"


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Interrupted`, also where the agent does not watch; handlers are restored."""

    def interrupt(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    watched = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in watched}
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
