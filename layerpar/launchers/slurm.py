"""Workers as the tasks of one Slurm step per run: from the login node, or inside `salloc` and `sbatch`."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from layerpar.errors import require, require_at_least
from layerpar.launchers.base import Launcher, worker_command, worker_environment
from layerpar.launchers.blame import Ended
from layerpar.launchers.command import Command
from layerpar.launchers.hosts import check_port, meeting
from layerpar.launchers.tether import tether_command, tether_message
from layerpar.launchers.watch import run_commands
from layerpar.measure.status import write_status
from layerpar.paths import RunDirectory
from layerpar.variables import CORES, HOSTS, NODE, PARENT

AS_A_WORKER = f"""\
export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID {PARENT}=0
export {NODE}=$SLURM_NODEID {CORES}=$SLURM_CPUS_ON_NODE
export {HOSTS}="$(scontrol show hostnames "$SLURM_STEP_NODELIST" | tr '\\n' ' ')"
exec "$@"
"""
"""A task's own variables, in the words of a worker."""

SAID_BY_SRUN = re.compile(r"^srun: error: (\S+): tasks? (\d+)[\d,-]*: (.+)$", re.MULTILINE)
SIGNALS = {"Killed": signal.SIGKILL, "Terminated": signal.SIGTERM, "Out Of Memory": signal.SIGKILL}


@dataclass(kw_only=True)
class SlurmLauncher(Launcher):
    """One `srun` per run: a job of its own, which waits in the queue, or a step of the job we are in.

    Every node sees the run directory, the data and this Python under the same paths.

    Attributes:
        nodes: How many; each gets as many workers as the others.
        cpus_per_worker: Cores that every worker gets.
        options: Of srun, such as `--partition=gpu`; they go last.
        port: Of the first node, where workers meet; 0 for one by chance.
        interface: The network interface that workers use on every node; null for the one on the way to
            the other nodes.
    """

    nodes: int
    cpus_per_worker: int
    options: list[str]
    port: int
    interface: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least("launcher.nodes", self.nodes, 1)
        require_at_least("launcher.cpus_per_worker", self.cpus_per_worker, 1)

    @property
    def uses_this_machine(self) -> bool:
        return False

    def check(self, workers: int) -> None:
        require(shutil.which("srun") is not None, "launcher=slurm needs srun; try launcher=local")
        check_port(self.port)
        nodes = min(self.nodes, workers)
        require(
            workers % nodes == 0,
            f"workers={workers} cannot be spread evenly over launcher.nodes={nodes}; "
            f"try workers={workers - workers % nodes}",
        )

    def launch(self, directory: RunDirectory, *, workers: int, started: float) -> None:
        nodes = min(self.nodes, workers)
        environment = worker_environment(started) | meeting(self.port, self.interface)
        environment |= {"WORLD_SIZE": str(workers), "LOCAL_WORLD_SIZE": str(workers // nodes)}
        command = Command(
            tether_command(),
            os.environ,
            directory.launcher_log,
            message=tether_message(self._srun(directory, nodes=nodes, workers=workers), environment),
        )
        if "SLURM_JOB_ID" not in os.environ:
            write_status(directory, "created", phase="waiting in the queue")
        run_commands(
            [command],
            directory,
            workers=workers,
            timeout_seconds=self.timeout_seconds,
            told_by_command=told_by_srun,
        )

    def _srun(self, directory: RunDirectory, *, nodes: int, workers: int) -> list[str]:
        log = directory.logs / "%t"
        return [
            "srun",
            "--job-name=layerpar",
            f"--nodes={nodes}",
            f"--ntasks={workers}",
            f"--ntasks-per-node={workers // nodes}",
            f"--cpus-per-task={self.cpus_per_worker}",
            "--distribution=block",
            "--exclusive",
            "--kill-on-bad-exit=1",
            "--input=none",
            "--export=ALL",
            f"--output={log}/stdout.log",
            f"--error={log}/stderr.log",
            *self.options,
            *("sh", "-c", AS_A_WORKER, "sh"),
            *worker_command(directory),
        ]


def told_by_srun(log: Path) -> Sequence[Ended]:
    """How tasks ended, in the order in which srun tells it, those included that it ended itself.

    >>> # srun: error: h2: task 1: Killed
    """
    return list(_ends(log.read_text(errors="replace"), log))


def _ends(text: str, log: Path) -> Iterator[Ended]:
    for host, task, words in SAID_BY_SRUN.findall(text):
        number = next((number for name, number in SIGNALS.items() if words.startswith(name)), None)
        code = re.search(r"exit code (\d+)", words)
        if number is not None:
            yield Ended(int(task), host, -number, log)
        elif code is not None:
            yield Ended(int(task), host, int(code[1]), log)
