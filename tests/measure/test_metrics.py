"""`metrics.jsonl`, and the loggers, which get its numbers: the real libraries, offline."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from tiny import TINY, composed, launched, on_workers, tiny

from layerpar import cli
from layerpar.check import check
from layerpar.config import RunConfig
from layerpar.errors import DivergedError, UserError
from layerpar.loggers.base import Logger
from layerpar.loggers.mlflow import MLflow
from layerpar.loggers.tensorboard import TensorBoard
from layerpar.loop import Progress
from layerpar.measure.metrics import MetricsLog
from layerpar.measure.stopwatch import Stopwatch
from layerpar.paths import RunDirectory
from layerpar.rendezvous.ranks import Ranks
from layerpar.trainer import Trainer

WRITTEN = {
    "train/epoch": [(10, 1)],
    "train/train_loss": [(10, 0.5)],
    "evaluate/epoch": [(20, 1), (40, 2)],
    "evaluate/train_loss": [(20, 0.25), (40, 0.125)],
}
"""What `write_two_phases` gives a logger: every finite number, over steps."""


def write_two_phases(directory: RunDirectory, logger: Logger) -> None:
    log = MetricsLog(directory, logger, {"optimizer.lr": 0.1})
    log.write("engine", cuts=[4])
    log.write("train", step=10, epoch=1, train_loss=0.5)
    log.write("train", step=20, train_loss=math.nan)
    log.write("evaluate", step=20, epoch=1, train_loss=0.25, phase="warmup")
    log.close()
    log = MetricsLog(directory, logger, {"optimizer.lr": 0.2})
    log.write("evaluate", step=40, epoch=2, train_loss=0.125)
    log.close()


def test_tensorboard_gets_the_same_numbers_over_the_same_steps(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    directory = RunDirectory(tmp_path)
    write_two_phases(directory, TensorBoard(name="tensorboard"))
    events = EventAccumulator(str(directory.logger))
    events.Reload()
    assert {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    } == WRITTEN


@pytest.mark.filterwarnings("default")  # its own
def test_mlflow_has_one_run_of_all_phases_in_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    directory = RunDirectory(tmp_path / "run")
    directory.root.mkdir()
    write_two_phases(directory, MLflow(name="mlflow", uri=f"{tmp_path / 'mlruns'}", experiment="depth"))
    assert "warning" not in directory.metrics.read_text()
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("depth")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.params) == ("FINISHED", {"optimizer.lr": "0.1"})
    history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    assert {
        name: [(point.step, point.value) for point in points] for name, points in history.items()
    } == WRITTEN
    log = MetricsLog(directory, MLflow(name="mlflow", uri=f"{tmp_path / 'mlruns'}", experiment="depth"))
    log.close(failed=True)
    assert client.get_run(run.info.run_id).info.status == "FAILED"


@dataclass(kw_only=True)
class Broken(Logger):
    """A logger of somebody's own, which cannot do one thing."""

    at: str

    def start(self, *_: object) -> None:
        self._fail("start")

    def log(self, *_: object) -> None:
        self._fail("log")

    def finish(self, *, failed: bool) -> None:
        self.failed = failed
        self._fail("finish")

    def _fail(self, doing: str) -> None:
        if doing == self.at:
            raise OSError(28, "No space left on device")


@pytest.mark.parametrize("at", ["start", "log", "finish"])
def test_losing_a_logger_is_one_line_and_no_number_less(at: str, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    log = MetricsLog(directory, Broken(name="broken", at=at))
    log.write("train", step=1, train_loss=1.0)
    log.write("train", step=2, train_loss=0.5)
    log.close()
    lines = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    assert [line["train_loss"] for line in lines if line["event"] == "train"] == [1.0, 0.5]
    (warning,) = [line["message"] for line in lines if line["event"] == "warning"]
    assert warning == "logger=broken is lost, the run goes on (OSError: [Errno 28] No space left on device)"


def test_a_run_goes_on_without_its_logger_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A logger of the user's own: one file and one YAML, found by the search path."""
    monkeypatch.setattr("layerpar.launchers.local.LocalLauncher.launch", launched)
    folder = tmp_path / "conf" / "logger"
    folder.mkdir(parents=True)
    (folder / "broken.yaml").write_text(f"_target_: {__name__}.Broken\nname: broken\nat: log\n")
    found = f"hydra.searchpath=[file://{tmp_path / 'conf'}]"
    asked = ["train", found, "logger=broken", "mode=serial", *TINY, f"hydra.run.dir={tmp_path / 'run'}"]
    assert cli.run(asked, started=time.time()) == 0
    assert capsys.readouterr().out.count("logger=broken is lost, the run goes on") == 1
    assert RunDirectory(tmp_path / "run").summary.exists()


def diverged(ranks: Ranks, config: RunConfig, root: Path) -> bool:
    logger = Broken(name="own", at="never")
    config = replace(config, logger=logger)
    trainer = Trainer(config, RunDirectory(root), Stopwatch(torch.device("cpu")), Progress())
    with pytest.raises(DivergedError):
        trainer.run_phases(ranks, started=0.0)
    return logger.failed


def test_a_logger_is_told_that_a_run_has_diverged(tmp_path: Path) -> None:
    assert on_workers(diverged, 1, tiny("mode=serial", "optimizer.lr=1e30"), tmp_path) == [True]


def test_no_folder_unless_asked_for(tmp_path: Path) -> None:
    log = MetricsLog(RunDirectory(tmp_path), Logger(name="none"))
    log.write("train", step=1, train_loss=math.pi)
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_package_is_one_line_with_its_repair(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerpar.loggers.base.find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"pip install 'layerpar\[{name}\]'.*try logger=none$"):
        check(composed(f"logger={name}"))


def test_the_key_of_before_names_the_new_one(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["train", "tensorboard=true"], started=0.0) == 2
    assert capfd.readouterr().err == "layerpar: tensorboard=true is logger=tensorboard now; try that\n"


def test_every_line_is_on_disk_at_once(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    log = MetricsLog(directory)
    log.write("train", step=1, train_loss=math.nan)
    log.write("evaluate", step=2)
    lines = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    assert lines == [{"event": "train", "step": 1, "train_loss": None}, {"event": "evaluate", "step": 2}]
    log.close()
