"""Disturbed runs on this machine: nobody else gets in, nothing is left, the right worker is named."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import (
    ENDLESS,
    SMALL,
    begun,
    ended,
    endless,
    is_training,
    killed_in_the_end,
    listening,
    rank_of,
    start,
    status_of,
    wait_until,
    workers_of,
)

from layerpar.paths import RunDirectory
from layerpar.variables import PARENT

MODES = ("serial", "data", "pipeline", "sequential", "layerwise", "replicas")


def test_nothing_listens_beyond_loopback(tmp_path: Path) -> None:
    """Neither the command nor a worker of any mode; the death of one ends a run, and the next begins."""
    others = ["~variants.serial_all_cores", "~variants.layerwise_local", "objective=delayed"]
    others += ['+variants.layerwise=["mode=layerwise"]']
    others += ['+variants.replicas=["mode=layerwise","mode.replicas=2","workers=4"]']
    process = start("compare", f"hydra.run.dir={tmp_path}", *ENDLESS, *others)
    with killed_in_the_end(process):
        for number, mode in enumerate(MODES):
            workers = workers_of(begun(process, tmp_path / f"{number}-{mode}").root)
            found = listening([process.pid, *workers])
            assert all(address in ("127.0.0.1", "::1") for address in found), (mode, found)
            os.kill(workers[0], signal.SIGKILL)
        assert ended(process, tmp_path)[0] == 1


def test_listening_sees_a_socket_that_is_open_to_all() -> None:
    with socket.create_server(("0.0.0.0", 0)), socket.create_server(("::1", 0), family=socket.AF_INET6):
        assert sorted(listening([os.getpid()])) == ["0.0.0.0", "::1"]


def test_a_second_interrupt_at_once_changes_nothing(tmp_path: Path) -> None:
    with endless(tmp_path / "run") as (process, directory):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        code, _, error = ended(process, directory.root)
    assert code == 130
    assert "Traceback" not in error
    assert status_of(directory)["status"] == "interrupted"


def test_a_hang_up_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    asked = ("train", f"hydra.run.dir={directory.root}", *SMALL, "epochs=40", "mode=serial")
    process = start(*asked, before=("nohup",))
    wait_until(lambda: is_training(directory))
    os.killpg(process.pid, signal.SIGHUP)
    assert ended(process, directory.root)[0] == 0
    assert status_of(directory)["status"] == "done"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_hang_up_and_a_warning_interrupt(tmp_path: Path, number: signal.Signals) -> None:
    """A warning leaves time for a checkpoint, a hang-up leaves those that there are."""
    with endless(tmp_path / "run") as (process, directory):
        if number == signal.SIGHUP:
            wait_until(lambda: bool(directory.whole_checkpoints()))
        process.send_signal(number)
        code, _, error = ended(process, directory.root)
    assert code == 128 + number
    assert number.name in error
    assert status_of(directory)["status"] == "interrupted"
    assert directory.whole_checkpoints()


def test_a_parent_killed_as_soon_as_a_worker_appears_leaves_none(tmp_path: Path) -> None:
    root = tmp_path / "run"
    process = start("train", f"hydra.run.dir={root}", *ENDLESS)
    wait_until(lambda: bool(workers_of(root)))
    process.kill()
    process.communicate()
    wait_until(lambda: not workers_of(root))


def test_a_worker_whose_parent_died_before_it_began_ends(tmp_path: Path) -> None:
    ended_early = subprocess.run(
        [sys.executable, "-m", "layerpar.worker", str(tmp_path)],
        env=os.environ | {PARENT: "1"},
        capture_output=True,
        check=False,
    )
    assert (ended_early.returncode, ended_early.stderr) == (1, b"")


@pytest.mark.parametrize("mode", ["layerwise", "data"])
def test_a_silent_worker_is_named_within_seconds_of_the_timeout(tmp_path: Path, mode: str) -> None:
    overrides = [f"mode={mode}", "workers=3", "batch_size=66", "launcher.timeout_seconds=3"]
    with endless(tmp_path / "run", *overrides) as (process, directory):
        silent = next(number for number in workers_of(directory.root) if rank_of(number) == "1")
        os.kill(silent, signal.SIGSTOP)
        before = time.monotonic()
        code, _, error = ended(process, directory.root)
    assert time.monotonic() - before < 3 + 10
    assert code == 1
    assert "worker 1 gave no sign of life for launcher.timeout_seconds=3" in error
    assert status_of(directory)["rank"] == 1


def test_waiting_for_work_is_not_silence(tmp_path: Path) -> None:
    """The serial phase takes longer than the timeout; its idle worker goes on waiting."""
    directory = RunDirectory(tmp_path / "run")
    code, _, error = ended(
        start(
            "train",
            "experiment=hybrid",
            "dataset=digits",
            "device=cpu",
            "architecture.width=512",
            "architecture.depth=16",
            "batch_size=4",
            "dataset.train_limit=600",
            "phases.layerwise.epochs=1",
            "epochs=3",
            "launcher.timeout_seconds=1",
            f"hydra.run.dir={directory.root}",
        ),
        directory.root,
    )
    assert code == 0, error
    phases = json.loads(directory.summary.read_text())["phases"]
    assert phases[0]["train_seconds"] > 1


def test_a_file_named_like_a_library_module_hides_nothing(tmp_path: Path) -> None:
    for name in ("queue", "random"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not the library')\n")
    (tmp_path / "mine.py").write_text("from layerpar.architectures.mlp import MLP as Mine\n")
    own = ["architecture._target_=mine.Mine", "mode=serial", "epochs=1", f"hydra.run.dir={tmp_path / 'run'}"]
    code, _, error = ended(start("train", *SMALL, *own, PYTHONPATH=pythonpath(tmp_path)), tmp_path)
    assert code == 0, error


def test_by_hand_a_failure_is_in_the_status(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    overrides = ["mode=data", "workers=2", "epochs=1", "architecture.norm=batch", *SMALL]
    assert ended(start("train", f"hydra.run.dir={directory.root}", *overrides), tmp_path)[0] == 0
    again = RunDirectory(tmp_path / "again")
    again.root.mkdir()
    again.run_yaml.write_text(directory.run_yaml.read_text().replace("batch_size: 64", "batch_size: 2"))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    failed = subprocess.run(
        [*torchrun, "-m", "layerpar.worker", again.root], capture_output=True, check=False
    )
    assert failed.returncode == 1
    assert status_of(again)["status"] == "failed"
    assert "BatchNorm" in status_of(again)["message"]


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "layerpar.worker", str(tmp_path / "nowhere")]
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.splitlines() == [
        f"layerpar: {tmp_path / 'nowhere'} holds no run.yaml; try a directory that layerpar train has made"
    ]


def test_by_hand_without_torchrun_a_run_that_goes_on_is_left_alone(tmp_path: Path) -> None:
    with endless(tmp_path) as (process, directory):
        command = [sys.executable, "-m", "layerpar.worker", str(directory.root)]
        failed = subprocess.run(command, capture_output=True, text=True, check=False)
        assert failed.returncode == 1
        assert "run.yaml wants 2 workers; try torchrun --nproc-per-node 2" in failed.stderr
        assert status_of(directory)["status"] == "running"
        assert process.poll() is None
        number = workers_of(directory.root)[0]
        flags = Path(f"/proc/{number}/fdinfo/0").read_text().splitlines()[1].split()[1]
        assert not int(flags, 8) & os.O_CLOEXEC, "what a worker executes has a standard input too"


def pythonpath(folder: Path) -> str:
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
