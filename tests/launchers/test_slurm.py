"""Runs as Slurm's jobs and steps, on a real Slurm: from the login node h3, or within an allocation."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cluster import Cluster
from processes import (
    ENDLESS,
    SMALL,
    Started,
    assert_over,
    ended,
    rank_of,
    start,
    status_of,
    training,
    wait_until,
    workers_of,
)
from tiny import composed

from layerpar.check import check
from layerpar.errors import UserError
from layerpar.launchers.slurm import SlurmLauncher, told_by_srun
from layerpar.paths import RunDirectory

RUN = ("mode=layerwise", "objective=delayed", "mode.partition=[1]", "workers=2", "epochs=2", *SMALL)
ON_TWO_NODES = ("launcher=slurm", "launcher.nodes=2")
SECONDS = 15
"""In which a disturbed run has ended."""


@contextmanager
def on_two_nodes(cluster: Cluster, root: Path) -> Iterator[tuple[Started, RunDirectory]]:
    """A run that is training, and would go on for hours."""
    process = cluster.layerpar("h3", "train", f"hydra.run.dir={root}", *ENDLESS, *ON_TWO_NODES)
    with training(process, root) as directory:
        yield process, directory


def test_a_job_and_a_step_of_one_have_the_weights_of_this_machine(
    slurm_hosts: Cluster, tmp_path: Path
) -> None:
    here, job, step = (RunDirectory(tmp_path / name) for name in ("here", "job", "step"))
    assert ended(start("train", *RUN, f"hydra.run.dir={here.root}"), tmp_path)[0] == 0
    run = ["train", *RUN, *ON_TWO_NODES]
    code, _, error = ended(slurm_hosts.layerpar("h3", *run, f"hydra.run.dir={job.root}"), tmp_path)
    assert code == 0, error
    within = [sys.executable, "-m", "layerpar.cli", *run, f"hydra.run.dir={step.root}"]
    code, _, error = ended(slurm_hosts.popen("h3", "salloc", "-N2", "--exclusive", *within), tmp_path)
    assert code == 0, error
    assert here.model.read_bytes() == job.model.read_bytes() == step.model.read_bytes()


def test_a_killed_task_is_named_with_its_node(slurm_hosts: Cluster, tmp_path: Path) -> None:
    with on_two_nodes(slurm_hosts, tmp_path / "run") as (process, directory):
        os.kill(next(n for n in workers_of(directory.root) if rank_of(n) == "1"), signal.SIGKILL)
        assert_over(process, directory, "worker 1 on h2 was killed by SIGKILL", seconds=SECONDS)


def test_a_cancelled_job_fails(slurm_hosts: Cluster, tmp_path: Path) -> None:
    with on_two_nodes(slurm_hosts, tmp_path / "run") as (process, directory):
        slurm_hosts.run("h3", "scancel", "--name=layerpar")
        assert_over(process, directory, "worker", seconds=SECONDS)


def test_an_interrupted_parent_ends_the_job(slurm_hosts: Cluster, tmp_path: Path) -> None:
    with on_two_nodes(slurm_hosts, tmp_path / "run") as (process, directory):
        process.send_signal(signal.SIGTERM)
        assert_over(process, directory, "SIGTERM", seconds=SECONDS, code=143, status="interrupted")
        wait_until(lambda: slurm_hosts.run("h3", "squeue", "-h") == "")


def test_a_killed_parent_leaves_no_task_on_any_node(slurm_hosts: Cluster, tmp_path: Path) -> None:
    with on_two_nodes(slurm_hosts, tmp_path / "run") as (process, directory):
        process.kill()
        before = time.monotonic()
        wait_until(lambda: not workers_of(directory.root))
        assert time.monotonic() - before < SECONDS
        wait_until(lambda: slurm_hosts.run("h3", "squeue", "-h") == "")


def test_a_full_queue_is_waited_for_and_the_status_says_so(slurm_hosts: Cluster, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    taken = slurm_hosts.popen("h3", "srun", "-N2", "--exclusive", "sleep", "600")
    wait_until(lambda: " R " in slurm_hosts.run("h3", "squeue"))
    process = slurm_hosts.layerpar("h3", "train", *RUN, *ON_TWO_NODES, f"hydra.run.dir={directory.root}")
    try:
        wait_until(lambda: " PD " in slurm_hosts.run("h3", "squeue"))
        assert status_of(directory)["phase"] == "waiting in the queue"
    finally:
        slurm_hosts.run("h3", "scancel", "--name=sleep")
        taken.communicate()
    assert ended(process, tmp_path)[0] == 0


def test_srun_tells_who_ended_first(tmp_path: Path) -> None:
    log = tmp_path / "stderr.log"
    log.write_text(
        "srun: job 7 queued and waiting for resources\n"
        "srun: error: h2: task 1: Killed\n"
        "srun: launch/slurm: _step_signal: Terminating StepId=7.0\n"
        "srun: error: h1: tasks 0,2-3: Terminated\n"
        "srun: error: h4: task 4: Exited with exit code 3\n"
    )
    assert [(end.rank, end.host, end.code) for end in told_by_srun(log)] == [
        (1, "h2", -signal.SIGKILL),
        (0, "h1", -signal.SIGTERM),
        (4, "h4", 3),
    ]


@pytest.mark.parametrize(
    ("overrides", "repair"),
    [(["workers=3", "launcher.nodes=2"], "workers=2"), (["launcher.nodes=0"], "launcher.nodes=1")],
)
def test_workers_that_do_not_fit_are_refused(
    monkeypatch: pytest.MonkeyPatch, overrides: list[str], repair: str
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(UserError, match=f"try .*{repair}"):
        check(composed("launcher=slurm", "mode=data", "batch_size=6", *overrides))


def test_without_srun_another_launcher_is_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(UserError, match="launcher=local"):
        check(composed("launcher=slurm"))


def test_a_worker_gets_the_cores_of_its_threads() -> None:
    launcher = composed("launcher=slurm", "threads_per_worker=3").launcher
    assert isinstance(launcher, SlurmLauncher)
    assert launcher.cpus_per_worker == 3


def test_a_preempted_job_goes_on_and_ends_with_the_weights_of_an_undisturbed_one(
    slurm_hosts: Cluster, tmp_path: Path
) -> None:
    here, directory = RunDirectory(tmp_path / "here"), RunDirectory(tmp_path / "run")
    run = [*RUN, "epochs=200"]
    assert ended(start("train", *run, f"hydra.run.dir={here.root}"), tmp_path)[0] == 0
    layerpar = shlex.join([sys.executable, "-m", "layerpar.cli"])
    arguments = shlex.join([*run, *ON_TWO_NODES, f"hydra.run.dir={directory.root}"])
    script = tmp_path / "job.sh"
    script.write_text(f"#!/bin/sh\nexec {layerpar} train {arguments}\n")
    asked = ["--parsable", "-N2", "--exclusive", "--requeue", "--open-mode=append"]
    output = tmp_path / "job.out"
    job = slurm_hosts.run("h3", "sbatch", *asked, f"--output={output}", str(script)).strip()
    wait_until(lambda: bool(directory.whole_checkpoints()))
    slurm_hosts.run("h3", "scontrol", "requeue", job)
    wait_until(lambda: not workers_of(directory.root))
    wait_until(lambda: status_of(directory)["status"] == "interrupted")
    wait_until(lambda: status_of(directory)["status"] not in ("interrupted", "created", "running"))
    assert status_of(directory)["status"] == "done", output.read_text()
    assert "goes on after epoch" in output.read_text()
    assert directory.model.read_bytes() == here.model.read_bytes()
    wait_until(lambda: job not in slurm_hosts.run("h3", "squeue", "-h", "-o", "%i").split())
