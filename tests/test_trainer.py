"""A run on its workers, from the first epoch to the records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tiny import TINY, launched, on_workers, tiny
from torch import Tensor

from layerpar.check import check
from layerpar.config import RunConfig, load
from layerpar.datasets.base import Batch
from layerpar.engine.backprop import BackpropEngine
from layerpar.errors import DivergedError, UserError
from layerpar.loop import Progress
from layerpar.measure.stopwatch import Stopwatch
from layerpar.paths import RunDirectory, config_directory
from layerpar.ranks import Ranks
from layerpar.trainer import Trainer

TWO = ("mode=layerwise", "workers=2", "mode.partition=[2]")


def done(root: Path, *overrides: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The summary of a tiny run, and what it recorded at its evaluations."""
    directory = RunDirectory(root)
    root.mkdir()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_directory())):
        OmegaConf.save(compose("train", overrides=[*TINY, *overrides]), directory.run_yaml, resolve=True)
    config = load(directory.run_yaml)
    launched(config.launcher, directory, workers=config.num_workers, started=0.0)
    lines = map(json.loads, directory.metrics.read_text().splitlines())
    return json.loads(directory.summary.read_text()), [line for line in lines if line["event"] == "evaluate"]


def test_without_a_split_every_evaluation_scores_the_test_set(tmp_path: Path) -> None:
    summary, evaluations = done(tmp_path / "run", *TWO, "epochs=2")
    accuracies = [line["test_accuracy"] for line in evaluations]
    assert summary["test_accuracy"] == accuracies[-1]
    assert summary["best_test_accuracy"] == max(accuracies)
    assert summary["validation_accuracy"] is None
    assert not any("validation_accuracy" in line for line in evaluations)


@pytest.mark.parametrize("way", [("mode=serial",), TWO], ids=["serial", "layerwise"])
def test_with_a_split_the_test_set_is_scored_once_at_the_end(way: tuple[str, ...], tmp_path: Path) -> None:
    target = ("dataset.validation=32", "target_accuracy=0.01", "epochs=3")
    summary, evaluations = done(tmp_path / "run", *way, *target)
    assert ["test_accuracy" in line for line in evaluations] == [False, False, True]
    accuracies = [line["validation_accuracy"] for line in evaluations]
    assert all((32 * accuracy) % 1 == 0 for accuracy in accuracies), "of 32 samples"
    assert summary["validation_accuracy"] == accuracies[-1]
    assert summary["best_validation_accuracy"] == max(accuracies)
    assert summary["test_accuracy"] == evaluations[-1]["test_accuracy"]
    assert summary["best_test_accuracy"] is None, "nothing may be chosen by the test set"
    assert summary["steps"] == 3 * ((96 - 32) // 16)
    assert summary["time_to_target_seconds"] is not None


def test_a_data_set_of_the_users_own_must_hold_out_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny("mode=serial", "dataset.validation=8")
    monkeypatch.setattr(type(config.dataset), "num_validation", lambda *_: 0)
    with pytest.raises(UserError, match=r"holds nothing out for validation; try dataset\.validation=0"):
        check(config)


def predict_nothing_finite(self: BackpropEngine, batch: Batch) -> Tensor:
    return torch.full((len(batch.labels), 10), float("nan"))


def diverged(ranks: Ranks, config: RunConfig, root: Path) -> tuple[bool, int]:
    BackpropEngine.predict = predict_nothing_finite  # type: ignore[method-assign]
    trainer = Trainer(config, RunDirectory(root), Stopwatch(torch.device("cpu")), Progress())
    with pytest.raises(DivergedError, match="loss became nan at step 6") as error:
        trainer.run_phases(ranks, started=0.0)
    return len(trainer.progress.evaluations) == 0, error.value.step


def test_a_loss_that_is_not_finite_in_an_evaluation_only_is_divergence(tmp_path: Path) -> None:
    """Its training losses are those of the steps before: the last update may have ruined the weights."""
    assert on_workers(diverged, 2, tiny("mode=data", "workers=2"), tmp_path) == [(True, 6)] * 2
