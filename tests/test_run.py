"""A run's directory: who may write to it, and what stays as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import ended, start
from tiny import TINY, launched

from layerpar import cli
from layerpar.launchers.base import Interrupted, WorkerError
from layerpar.measure.status import current_status, exclusive_lock, read_status, write_status
from layerpar.paths import RunDirectory

ASKED = ("mode=serial", *TINY)


@pytest.fixture(autouse=True)
def _quick_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerpar.launchers.local.LocalLauncher.launch", launched)


def train(*arguments: str) -> int:
    return cli.run(["train", *ASKED, *arguments], started=time.time())


def sweep(root: Path, *arguments: str) -> int:
    return cli.run(["train", "-m", *ASKED, f"hydra.sweep.dir={root}", *arguments], started=time.time())


def content(root: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below, and when it was written."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def and_then(error: BaseException) -> Callable[..., None]:
    """Workers that do all their work, and a launcher that dies afterwards."""

    def launch(*arguments: Any, **named: Any) -> None:
        launched(*arguments, **named)
        raise error

    return launch


@pytest.mark.parametrize("last", [WorkerError(0, "was killed by SIGKILL", "log"), Interrupted(15)])
def test_done_stays_done_whatever_dies_afterwards(
    last: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = RunDirectory(tmp_path)
    monkeypatch.setattr("layerpar.launchers.local.LocalLauncher.launch", and_then(last))
    code = train(f"hydra.run.dir={tmp_path}", "epochs=2")
    assert code == (0 if isinstance(last, WorkerError) else 143)
    assert read_status(directory)["status"] == "done"
    assert json.loads(directory.summary.read_text())["test_accuracy"] > 0
    assert directory.model.exists()
    assert not directory.checkpoints.exists()


def test_a_finished_run_is_left_as_it_is_by_everybody(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "[old]"
    assert train(f"hydra.run.dir='{root}'") == 0
    assert str(root) in capfd.readouterr().out
    before = content(root)
    assert ".hydra/overrides.yaml" in before
    assert train(f"hydra.run.dir='{root}'") == 0, "the same again is done"
    assert content(root) == before
    assert train(f"hydra.run.dir='{root}'", "seed=7") == 2
    assert f"{root} already holds another run; try hydra.run.dir=ANOTHER" in capfd.readouterr().err
    assert cli.run(["compare", *TINY, f"hydra.run.dir='{root}'"], started=0.0) == 2
    assert "already holds a run" in capfd.readouterr().err
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"]
    by_hand = subprocess.run(
        [*command, "-m", "layerpar.worker", str(root)], check=False, capture_output=True, text=True
    )
    assert by_hand.returncode != 0
    assert f"{root} is done" in by_hand.stderr + "".join(
        path.read_text() for path in root.rglob("stderr.log")
    )
    assert content(root) == before


def test_a_directory_that_is_running_is_left_to_who_runs_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = RunDirectory(tmp_path)
    write_status(directory, "running", phase="training")
    with exclusive_lock(directory):
        before = content(tmp_path)
        assert current_status(directory)["status"] == "running"
        assert train(f"hydra.run.dir={tmp_path}") == 2
        assert "is still running; try again once it has ended" in capfd.readouterr().err
        assert cli.run(["compare", *TINY, f"hydra.run.dir={tmp_path}"], started=0.0) == 2
        assert "is still running" in capfd.readouterr().err
        assert content(tmp_path) == before
    assert current_status(directory)["status"] == "stopped"


def test_workers_that_end_without_a_word_have_not_finished_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As behind a remote command that detaches, or swallows exit codes."""
    monkeypatch.setattr("layerpar.launchers.local.LocalLauncher.launch", lambda *_, **__: None)
    assert train(f"hydra.run.dir={tmp_path}") == 1
    assert "ended without having finished the run" in capfd.readouterr().err
    assert read_status(RunDirectory(tmp_path))["status"] == "failed"


def interrupted_after_an_epoch(*arguments: Any, **named: Any) -> None:
    """Workers that are done but for what follows their last checkpoint."""
    launched(*arguments, **named)
    directory = next(one for one in arguments if isinstance(one, RunDirectory))
    directory.summary.unlink()
    directory.model.unlink()
    write_status(directory, "running", phase="evaluating")
    raise Interrupted(2)


def test_the_same_sweep_again_does_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is done stays, what has a checkpoint goes on, however the members are numbered by now."""
    longer = ("epochs=2", "keep_checkpoint=true")
    assert sweep(tmp_path, *longer, "seed=1") == 0
    with monkeypatch.context() as patch:
        patch.setattr("layerpar.launchers.local.LocalLauncher.launch", interrupted_after_an_epoch)
        assert sweep(tmp_path, *longer, "seed=2") == 130
    told = capfd.readouterr().out
    assert "to go on: layerpar train" in told
    assert f"hydra.sweep.dir={tmp_path}" in told
    done = content(tmp_path / "0-serial-depth4-seed1")
    checkpointed = RunDirectory(tmp_path / "0-serial-depth4-seed2")
    assert read_status(checkpointed)["status"] == "interrupted"
    assert sweep(tmp_path, *longer, "seed=0,1,2") == 0
    told = capfd.readouterr().out
    assert "run 1 of 3 · 0-serial-depth4-seed0  done\n" in told
    assert "0-serial-depth4-seed1  done before" in told
    assert "0-serial-depth4-seed2  goes on after epoch 2 of 2" in told
    assert content(tmp_path / "0-serial-depth4-seed1") == done
    assert sorted(path.parent.name for path in tmp_path.rglob("run.yaml")) == [
        f"0-serial-depth4-seed{seed}" for seed in range(3)
    ]


def test_a_place_that_another_member_has_taken_is_left_to_it(tmp_path: Path) -> None:
    assert sweep(tmp_path, "optimizer.lr=0.1") == 0
    before = content(tmp_path / "0-serial-depth4-seed0")
    assert sweep(tmp_path, "optimizer.lr=0.2") == 0
    assert content(tmp_path / "0-serial-depth4-seed0") == before
    assert (tmp_path / "0-serial-depth4-seed0-2" / "model.pt").exists()


def test_a_finished_run_goes_on_for_more_epochs_if_it_kept_its_checkpoint(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """At a constant rate they are those of a run that was planned for all of them."""
    short, kept, whole = (tmp_path / name for name in ("short", "kept", "whole"))
    constant = ("optimizer.schedule.name=constant", "optimizer.schedule.warmup=0", "keep_checkpoint=true")
    assert train(f"hydra.run.dir={short}") == 0
    assert train(f"hydra.run.dir={kept}", *constant) == 0
    assert train(f"hydra.run.dir={whole}", *constant, "epochs=3") == 0
    capfd.readouterr()
    assert cli.run(["resume", str(short), "epochs=3"], started=0.0) == 2
    assert "kept no checkpoint; try layerpar train keep_checkpoint=true" in capfd.readouterr().err
    assert cli.run(["resume", str(kept), "epochs=1"], started=0.0) == 2
    assert cli.run(["resume", str(kept), "seed=3"], started=0.0) == 2
    assert "seed=3 cannot be changed; try epochs=N or workers=N" in capfd.readouterr().err
    assert cli.run(["resume", str(kept), "epochs=3"], started=time.time()) == 0
    one, other = (RunDirectory(root) for root in (kept, whole))
    assert one.model.read_bytes() == other.model.read_bytes()
    assert "epochs: 3" in one.run_yaml.read_text()


def test_what_an_earlier_attempt_said_blames_nobody_later(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    assert train(f"hydra.run.dir={tmp_path}", "keep_checkpoint=true") == 0
    old = directory.log(0) / "error.json"
    old.parent.mkdir(parents=True, exist_ok=True)
    old.write_text('{"message": "of long ago"}')
    assert cli.run(["resume", str(tmp_path), "epochs=2"], started=time.time()) == 0
    assert not old.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mounted)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a small file system")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


BIG = ("architecture.width=512", "architecture.depth=4", "dataset.train_limit=64", "batch_size=32")
FILLS = {
    "a checkpoint": ("mode=serial", "epochs=3", "architecture.width=900"),
    "the second checkpoint": ("mode=serial", "epochs=3"),
    "the model": ("mode=serial", "epochs=1", "architecture.width=900"),
}


@pytest.mark.parametrize("name", FILLS)
def test_a_full_disk_is_one_line_and_the_run_has_failed(name: str, small_disk: Path) -> None:
    root = small_disk / "run"
    asked = [*BIG, *FILLS[name], "device=cpu", "warmup_steps=0", f"hydra.run.dir={root}"]
    code, output, error = ended(start("train", *asked), root)
    assert code == 1
    (line,) = error.splitlines()
    assert str(root) in line
    assert "No space left on device" in line or "is full" in line
    assert read_status(RunDirectory(root))["status"] == "failed"
    assert (f"to go on: layerpar resume {root}" in output) == (name == "the second checkpoint")
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    if name == "the second checkpoint":
        assert ended(start("resume", str(root)), root)[0] == 0


def test_a_comparison_on_a_full_disk_says_of_each_run_what_it_lacks(small_disk: Path) -> None:
    ways = ["~variants.serial_all_cores", "~variants.data", "~variants.pipeline", "~variants.sequential"]
    asked = [*BIG, *ways, "epochs=2", "device=cpu", f"hydra.run.dir={small_disk / 'compared'}"]
    code, output, error = ended(start("compare", *asked), small_disk)
    assert code == 1
    assert "Traceback" not in output + error
    assert "cannot write None" not in output + error
    failed = [line for line in output.splitlines() if "  failed" in line]
    assert len(failed) == 2
    assert all("No space left on device" in line or "is full" in line for line in failed)
    assert "to go on: layerpar compare" in output
