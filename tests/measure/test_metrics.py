"""`metrics.jsonl`, and TensorBoard, which gets its scalars."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from layerpar.errors import UserError
from layerpar.measure.metrics import MetricsLog, check_installed
from layerpar.paths import RunDirectory


def test_the_same_scalars_over_the_same_steps(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    directory = RunDirectory(tmp_path)
    log = MetricsLog(directory, tensorboard=True)
    log.write("engine", cuts=[4])
    log.write("train", step=10, epoch=1, train_loss=0.5)
    log.write("train", step=20, epoch=1, train_loss=math.nan)
    log.write("evaluate", step=20, epoch=1, train_loss=0.25, test_accuracy=0.75, phase="warmup")
    log.close()
    events = EventAccumulator(str(directory.tensorboard))
    events.Reload()
    assert {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    } == {
        "train/epoch": [(10, 1), (20, 1)],
        "train/train_loss": [(10, 0.5)],
        "evaluate/epoch": [(20, 1)],
        "evaluate/train_loss": [(20, 0.25)],
        "evaluate/test_accuracy": [(20, 0.75)],
    }


def test_no_folder_unless_asked_for(tmp_path: Path) -> None:
    log = MetricsLog(RunDirectory(tmp_path))
    log.write("train", step=1, train_loss=math.pi)
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_missing_package_is_one_line_with_its_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerpar.measure.metrics.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install tensorboard.*try tensorboard=false$"):
        check_installed()


def test_every_line_is_on_disk_at_once(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    log = MetricsLog(directory)
    log.write("train", step=1, train_loss=math.nan)
    log.write("evaluate", step=2)
    lines = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    assert lines == [{"event": "train", "step": 1, "train_loss": None}, {"event": "evaluate", "step": 2}]
    log.close()
