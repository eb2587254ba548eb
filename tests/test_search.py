"""Searches by Hydra's Optuna sweeper: the real library, in the command that a user gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf
from processes import SMALL, ended, start

from layerpar.compose import one_line
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


def search(root: Path, *overrides: str) -> tuple[int, str, dict[str, object]]:
    """Exit code and output of a search, and what Optuna has found."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    code, output, error = ended(start("train", "-m", f"hydra.sweep.dir={root}", *overrides), root)
    assert code < 2 or "refused" in output, error
    found = OmegaConf.to_container(OmegaConf.load(root / "optimization_results.yaml"))
    assert isinstance(found, dict)
    return code, output, {str(key): value for key, value in found.items()}


def test_optuna_maximises_the_validation_accuracy_and_goes_on_where_it_was(tmp_path: Path) -> None:
    asked = (*OPTUNA, "hydra.sweeper.n_trials=3", "optimizer.lr=interval(1e-6,0.05)")
    code, output, found = search(tmp_path, *asked)
    assert code == 0
    runs = load([tmp_path]).summaries
    best = runs.loc[runs["validation_accuracy"].idxmax()]
    assert len(runs) == 3
    assert found["best_value"] == best["validation_accuracy"]
    lr = best["settings"]["optimizer.lr"]
    assert found["best_params"] == {"optimizer.lr": lr}
    assert f"found: optimizer.lr={lr}" in output
    code, output, again = search(tmp_path, *asked)
    assert (code, again) == (0, found)
    assert output.count("done before") == 3


def test_a_diverged_run_and_a_refused_one_are_the_worst_there_are(tmp_path: Path) -> None:
    """The learning rate makes the first diverge; there is no accuracy of 2."""
    asked = ("optimizer.lr=choice(1e30,0.01)", "target_accuracy=choice(0.9,2)", "hydra.sweeper.n_trials=8")
    code, output, found = search(tmp_path, *OPTUNA, *asked)
    assert code == 2
    assert "diverged: loss became" in output
    assert "refused: target_accuracy=2.0 is not" in output
    assert found["best_params"] == {"optimizer.lr": 0.01, "target_accuracy": 0.9}


def test_a_search_for_the_worst_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    asked = ("hydra/sweeper=optuna", f"hydra.sweep.dir={tmp_path}", "optimizer.lr=interval(0.1,0.2)")
    code, _, error = ended(start("train", "-m", *asked), tmp_path)
    assert code == 2
    assert error.endswith("layerpar: accuracy is what to maximize; try hydra.sweeper.direction=maximize\n")


def test_seconds_are_minimised(tmp_path: Path) -> None:
    asked = ("optimized_metric=train_seconds", "hydra.sweeper.n_trials=2", "epochs=choice(1,3)")
    code, _, found = search(tmp_path, *(one for one in OPTUNA if not one.startswith("epochs")), *asked)
    assert code == 0
    seconds = [
        json.loads(RunDirectory(path.parent).summary.read_text())["train_seconds"]
        for path in tmp_path.glob("*/run.yaml")
    ]
    assert found["best_value"] == min(seconds)


@pytest.mark.parametrize(
    ("missing", "extra"),
    [("hydra/sweeper/optuna", "search"), ("hydra/launcher/joblib", "cluster")],
)
def test_a_plugin_that_is_not_installed_is_named_with_its_extra(missing: str, extra: str) -> None:
    error = MissingConfigException("not found", missing, options=["basic"])
    assert one_line(error).endswith(f"try pip install 'layerpar[{extra}]'")
