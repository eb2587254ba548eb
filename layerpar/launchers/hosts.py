"""Workers on hosts that a remote shell reaches."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
from dataclasses import dataclass

from layerpar.errors import require
from layerpar.launchers.base import (
    Launcher,
    python_path,
    rank_environment,
    worker_command,
    worker_environment,
)
from layerpar.launchers.command import Command
from layerpar.launchers.tether import tether_command, tether_message
from layerpar.launchers.watch import run_commands
from layerpar.paths import RunDirectory
from layerpar.variables import HOSTS, INTERFACE, NODE, STORE

PASSED_ON = ("LAYERPAR_", "PYTHON", "NCCL_", "GLOO_", "TORCH", "CUDA_", "MKL_", "MALLOC_", "LD_LIBRARY_PATH")
"""What the names of environment variables begin with that workers on other hosts get too."""

PORTS = range(20000, 32768)
"""Below those that Linux gives to outgoing connections."""


@dataclass(kw_only=True)
class HostsLauncher(Launcher):
    """A remote command per worker; the workers spread over the hosts in order.

    Every host sees the run directory, the data and this Python under the same paths.

    Attributes:
        hosts: As they know each other, and as `remote` knows them; worker 0 is on the first.
        remote: The command before a host and a command line for its shell.
        port: Of the first host, where workers meet; 0 for one by chance.
        interface: The network interface that workers use on every host; null for the one on the way to
            the other hosts.
    """

    hosts: list[str]
    remote: list[str]
    port: int
    interface: str | None

    @property
    def uses_this_machine(self) -> bool:
        return False

    def check(self, workers: int) -> None:
        require(bool(self.hosts), "launcher.hosts is empty; try 'launcher.hosts=[n1,n2]'")
        require(
            bool(self.remote) and shutil.which(self.remote[0]) is not None,
            f"launcher.remote={self.remote} names no command of this machine; try 'launcher.remote=[ssh]'",
        )
        check_port(self.port)

    def launch(self, directory: RunDirectory, *, workers: int, started: float) -> None:
        hosts = self.hosts[:workers]
        node_of = [rank * len(hosts) // workers for rank in range(workers)]
        common = passed_on() | worker_environment(started) | meeting(self.port, self.interface)
        common[HOSTS] = " ".join(host.rpartition("@")[2] for host in hosts)
        commands = []
        for rank, node in enumerate(node_of):
            environment = common | {NODE: str(node)}
            environment |= rank_environment(
                rank,
                world_size=workers,
                local_rank=rank - node_of.index(node),
                local_world_size=node_of.count(node),
            )
            commands.append(
                Command(
                    [*self.remote, hosts[node], _for_a_shell(tether_command())],
                    os.environ,
                    directory.log(rank),
                    rank=rank,
                    host=hosts[node],
                    message=tether_message(worker_command(directory), environment),
                )
            )
        run_commands(commands, directory, workers=workers, timeout_seconds=self.timeout_seconds)


def passed_on() -> dict[str, str]:
    """The part of this process's environment that workers on other hosts get."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(PASSED_ON) and name != "CUDA_VISIBLE_DEVICES"  # numbers of this machine's GPUs
    }


def check_port(port: int) -> None:
    """Refuse what is no port.

    Raises:
        UserError: it is none.
    """
    require(0 <= port < 2**16, f"launcher.port={port} is no port; try launcher.port=0 (one by chance)")


def meeting(port: int, interface: str | None) -> dict[str, str]:
    """Where workers of several hosts meet: a port of the first, behind an id that nobody can guess."""
    chosen = port or secrets.choice(PORTS)
    address = {STORE: f"tcp:{chosen}/{secrets.token_hex(16)}"}
    return address if interface is None else address | {INTERFACE: interface}


def _for_a_shell(words: list[str]) -> str:
    return shlex.join(["env", f"PYTHONPATH={python_path()}", *words])
