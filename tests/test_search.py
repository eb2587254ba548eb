"""Searches by Hydra's Optuna sweeper: the real library, in the command that a user gives."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf
from processes import SMALL, ended, start

from layerpar.check import METRICS
from layerpar.compose import one_line
from layerpar.optimized import direction, value
from layerpar.paths import RunDirectory
from layerpar.results.load import load

OPTUNA = (
    "experiment=search",
    "mode=serial",
    "objective.microbatches=1",
    "objective.link_delay=1",
    "epochs=2",
    *SMALL,
)


def test_optuna_looks_for_the_best_and_counts_a_diverged_run_as_the_worst(tmp_path: Path) -> None:
    """A rate that is tried twice is run once."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    asked = (*OPTUNA, "hydra.sweeper.n_trials=3", "optimizer.lr=choice(1e30,0.02)")
    code, output, error = ended(start("train", f"hydra.sweep.dir={tmp_path}", *asked), tmp_path)
    assert code == 1, error
    assert "diverged: loss became" in output
    assert "done before" in output or "diverged before" in output
    found = OmegaConf.load(tmp_path / "optimization_results.yaml")
    runs = load([tmp_path]).summaries
    assert found.best_value == runs["validation_accuracy"].max()
    assert f"found: optimizer.lr={found.best_params['optimizer.lr']}, best value" in output


def test_what_a_search_is_told(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    content = {"validation_accuracy": None, "test_accuracy": 0.5, "time_to_target_seconds": None}
    directory.summary.write_text(json.dumps(content))
    assert value(directory, None, done=True) == 0.5
    assert value(directory, None, done=False) == 0
    assert value(directory, "time_to_target_seconds", done=True) == math.inf
    assert value(directory, "train_seconds", done=False) == math.inf
    directory.summary.write_text(json.dumps(content | {"validation_accuracy": 0.25}))
    assert value(directory, None, done=True) == 0.25


def test_accuracies_are_maximised_and_seconds_minimised() -> None:
    assert {metric for metric in METRICS if direction(metric) == "maximize"} == {
        "samples_per_second",
        *(metric for metric in METRICS if metric.endswith("accuracy")),
    }
    assert direction(None) == "maximize"


def test_a_search_for_the_worst_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    asked = ("hydra/sweeper=optuna", f"hydra.sweep.dir={tmp_path}", "optimizer.lr=interval(0.1,0.2)")
    code, _, error = ended(start("train", "-m", *asked), tmp_path)
    assert code == 2
    assert error.endswith("layerpar: accuracy is what to maximize; try hydra.sweeper.direction=maximize\n")


@pytest.mark.parametrize(
    ("missing", "extra"),
    [("hydra/sweeper/optuna", "search"), ("hydra/launcher/joblib", "cluster")],
)
def test_a_plugin_that_is_not_installed_is_named_with_its_extra(missing: str, extra: str) -> None:
    error = MissingConfigException("not found", missing, options=["basic"])
    assert one_line(error, "layerpar train").endswith(f"try pip install 'layerpar[{extra}]'")
