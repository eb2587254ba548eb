"""Workers on this machine."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from layerpar.launchers.base import (
    Launcher,
    rank_environment,
    worker_command,
    worker_environment,
)
from layerpar.launchers.command import Command
from layerpar.launchers.fork_server import ForkServer
from layerpar.launchers.watch import run_commands
from layerpar.paths import RunDirectory
from layerpar.scratch import private_folder
from layerpar.variables import STORE

LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


@dataclass(kw_only=True)
class LocalLauncher(Launcher):
    """A process per worker, forked from one that has imported torch already, for all runs of a command.

    They meet in a file that nobody else can read, and talk over loopback only.
    """

    def launch(self, directory: RunDirectory, *, workers: int, started: float) -> None:
        with private_folder() as private:
            common = {
                **os.environ,
                **worker_environment(started),
                "GLOO_SOCKET_IFNAME": LOOPBACK,
                "NCCL_SOCKET_IFNAME": os.environ.get("NCCL_SOCKET_IFNAME", LOOPBACK),
                STORE: f"file:{private}/store",
            }
            commands = [
                Command(
                    worker_command(directory),
                    common
                    | rank_environment(rank, world_size=workers, local_rank=rank, local_world_size=workers),
                    directory.log(rank),
                    rank=rank,
                )
                for rank in range(workers)
            ]
            server = fork_server(os.environ | worker_environment(started=0.0))
            run_commands(
                commands,
                directory,
                workers=workers,
                timeout_seconds=self.timeout_seconds,
                start=lambda command: server.fork(directory, command.environment, command.log),
            )


def fork_server(environment: dict[str, str]) -> ForkServer:
    """The one of this command; another one where the last has died, or was started in another environment."""
    global _server
    if _server is None or not _server[1].alive or _server[0] != environment:
        if _server is not None:
            _server[1].close()
        _server = environment, ForkServer(environment)
    return _server[1]


_server: tuple[dict[str, str], ForkServer] | None = None
