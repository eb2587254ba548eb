"""Workers on this machine."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from tempfile import TemporaryDirectory

from layerpar.launchers.base import (
    Launcher,
    rank_environment,
    worker_command,
    worker_environment,
)
from layerpar.launchers.watch import Command, run_commands
from layerpar.paths import RunDirectory
from layerpar.variables import PARENT, STORE

LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


@dataclass(kw_only=True)
class LocalLauncher(Launcher):
    """A process per worker. They meet in a file that nobody else can read, and talk over loopback only."""

    def launch(self, directory: RunDirectory, *, workers: int, started: float) -> None:
        with TemporaryDirectory(prefix="layerpar-") as private:
            common = {
                **os.environ,
                **worker_environment(started),
                "GLOO_SOCKET_IFNAME": LOOPBACK,
                "NCCL_SOCKET_IFNAME": os.environ.get("NCCL_SOCKET_IFNAME", LOOPBACK),
                PARENT: str(os.getpid()),
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
            run_commands(commands, directory, workers=workers, timeout_seconds=self.timeout_seconds)
