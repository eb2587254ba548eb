"""Every mistake gets one line that says what is wrong and how to repair it, before anything starts."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from layerpar import cli
from layerpar.measure.status import write_status
from layerpar.paths import RunDirectory

MISTAKES = {
    "unknown choice": (["mode=lazy"], "mode"),
    "unknown key": (["speed=3"], "speed"),
    "added key": (["+mode.extra=1"], "mode.extra"),
    "added root key": (["+extra=1"], "extra"),
    "wrong type": (["seed=soon"], "seed"),
    "wrong type in a group": (["architecture.depth=deep"], "architecture.depth"),
    "no workers": (["workers=0"], "workers=1"),
    "negative workers": (["workers=-1"], "workers=1"),
    "more workers than layers": (["workers=99", "mode=layerwise"], "workers=9"),
    "batch not divisible": (["mode=data", "workers=2", "batch_size=63"], "batch_size=64"),
    "batch too large": (["batch_size=100000"], "batch_size=1437"),
    "no epochs": (["epochs=0"], "epochs=1"),
    "traced more than an epoch": (["trace_steps=12"], "trace_steps=11"),
    "no gpu": (["device=cuda"], "device=cpu"),
    "missing -m": (["mode=serial,data"], "-m"),
    "learning rate": (["optimizer.lr=0"], "optimizer.lr"),
    "negative learning rate": (["optimizer.lr=-1"], "optimizer.lr"),
    "cuts beyond the layers": (["mode.partition=[99]"], "mode.partition"),
    "cuts out of order": (["mode.partition=[5,2]", "workers=3"], "mode.partition"),
    "queue too short for the delay": (
        ["workers=2", "objective=delayed", "objective.link_delay=5"],
        "mode.queue_depth=3",
    ),
    "spike compensation of Adam": (
        ["objective=delayed", "objective.compensation=spike", "optimizer=adamw"],
        "optimizer=sgd",
    ),
    "no stash in bf16": (
        ["objective=delayed", "objective.stash=false", "precision=bf16"],
        "objective.stash=true",
    ),
    "other blocks than the cuts make": (["mode.blocks=4", "mode.partition=[2]"], "not mode.blocks=4"),
    "milestones in epochs": (["optimizer.schedule.milestones=[50,75]"], "milestones=[0.5,0.75]"),
    "a rate that turns negative": (["optimizer.schedule.factor=-3"], "optimizer.schedule.factor=0.1"),
    "batches normalised together, weights averaged": (
        ["mode=data", "workers=2", "mode.sync_batchnorm=true", "aggregation=average"],
        "mode.sync_batchnorm=false",
    ),
    "no port": (["launcher=hosts", "launcher.hosts=[h1]", "launcher.port=99999"], "launcher.port=0"),
    "unequal micro-batches": (
        ["objective=delayed", "objective.microbatches=3", "batch_size=64"],
        "objective.microbatches=",
    ),
    "static graph of micro-batches": (
        ["mode=data", "mode.static_graph=true", "mode.microbatches=2"],
        "mode.static_graph=false",
    ),
    "search by a score without its split": (
        ["optimized_metric=validation_accuracy"],
        "dataset.validation=0.1",
    ),
    "search by a score that nothing has": (
        ["optimized_metric=best_test_accuracy", "dataset.validation=0.1"],
        "optimized_metric=best_validation_accuracy",
    ),
    "unknown norm": (["architecture.norm=group"], "architecture.norm"),
    "target accuracy in percent": (["target_accuracy=95"], "target_accuracy=0.95"),
    "optimizer argument": (["+optimizer.arguments.speed=2"], "optimizer"),
    "no hosts": (["launcher=hosts"], "launcher.hosts=[n1,n2]"),
    "no remote command": (["launcher=hosts", "launcher.hosts=[n1]", "launcher.remote=[sssh]"], "[ssh]"),
    "no patience": (["launcher.join_seconds=0"], "launcher.join_seconds=1"),
    "bad value syntax": (["mode.partition=[1"], "mode.partition"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_one_line_and_exit_code_2(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "no gpu":
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    overrides, repair = MISTAKES[name]
    code = cli.run(["train", f"hydra.run.dir={tmp_path / 'run'}", *overrides], started=0.0)
    captured = capfd.readouterr()
    lines = captured.err.strip().splitlines()
    assert code == 2, captured
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("layerpar: ")
    assert repair in lines[0]
    assert not list(tmp_path.rglob("logs")), "no worker may have been started"


def test_unwritable_output_directory(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("")
    assert cli.run(["train", f"hydra.run.dir={occupied / 'run'}"], started=0.0) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert "hydra.run.dir=" in error


def test_a_directory_is_never_overwritten(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text("kept")
    write_status(RunDirectory(tmp_path), "done")
    assert cli.run(["train", f"hydra.run.dir={tmp_path}"], started=0.0) == 2
    assert "already holds another run" in capfd.readouterr().err
    assert (tmp_path / "run.yaml").read_text() == "kept"
    assert not (tmp_path / "summary.json").exists()


def test_unknown_command(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["tarin"], started=0.0) == 2
    assert "train" in capfd.readouterr().err


COMPARED = {
    "no mapping of variants": (["variants=foo"], "+variants.mine="),
    "a variant of numbers": (["+variants.mine=[3]"], "variants.mine is no list of overrides"),
    "settings from nowhere": (["chosen=3"], "chosen=3 is no file"),
    "no search": (["tune=3"], "experiment=tune"),
    "no trials": (["experiment=tune", "tune.trials=0"], "tune.trials=12"),
    "a value where a list belongs": (
        ["experiment=tune", "tune.search.serial={optimizer.lr:0.1}"],
        "tune.search.serial is no list of values for each key",
    ),
    "an experiment of a folder": (["experiment=quick/nope"], "experiment=quick/nope is not known"),
}


@pytest.mark.parametrize("mistake", COMPARED)
def test_a_mistake_in_what_is_compared(
    mistake: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, repair = COMPARED[mistake]
    assert cli.run(["compare", *arguments, f"hydra.run.dir={tmp_path}"], started=0.0) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert repair in line


def test_broken_yaml_of_ones_own_is_one_line_with_its_place(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "objective").mkdir()
    (tmp_path / "objective" / "mine.yaml").write_text("_target_: mine.Mine\nname: [x\n")
    asked = ["train", f"hydra.searchpath=[file://{tmp_path}]", "objective=mine"]
    assert cli.run([*asked, f"hydra.run.dir={tmp_path / 'run'}"], started=0.0) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "mine.yaml is no YAML" in line


def test_data_that_cannot_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def info(_: object) -> None:
        raise PermissionError(13, "Permission denied", "/data/images")

    monkeypatch.setattr("layerpar.datasets.digits.Digits.info", info)
    assert cli.run(["train", f"hydra.run.dir={tmp_path}"], started=0.0) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "/data/images cannot be read (Permission denied)" in line


@pytest.mark.parametrize("command", ["report", "plot"])
def test_missing_directory(command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run([command, str(tmp_path / "nowhere")], started=0.0) == 2
    assert "is not a directory" in capfd.readouterr().err


def test_within_three_seconds_from_a_shell(tmp_path: Path) -> None:
    before = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "layerpar.cli",
        "train",
        "workers=99",
        f"hydra.run.dir={tmp_path / 'run'}",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - before
    assert ended.returncode == 2
    assert ended.stderr.startswith("layerpar: layerwise: workers=99")
    assert seconds < 15, "a hang, not a slow machine"
