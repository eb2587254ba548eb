"""Settings chosen with equal budgets, and a comparison that uses them."""

from __future__ import annotations

import csv
import math
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tiny import TINY, launched

from layerpar import cli
from layerpar.errors import UserError
from layerpar.results.load import load
from layerpar.tune import Trial, at_the_edge, choose, points, record

LESS = ("~variants.pipeline", "~variants.sequential", "~variants.data")
FEW = (
    *TINY,
    "dataset.validation=0.25",
    "tune.trials=2",
    "tune.search.serial={optimizer.lr:[1e-6,0.05]}",
    "tune.search.local={objective.head:[mlp,linear]}",
    "tune.search.delayed={optimizer.lr:[1e-6,0.05],objective.microbatches:[2,4]}",
)


def test_every_budget_is_the_same_whatever_the_grids_size() -> None:
    small = {"optimizer.lr": [0.1, 0.2], "objective.head": ["mlp", None]}
    large = {"optimizer.lr": [0.1, 0.2, 0.3], "mode.partition": [[4], [5]], "mode.replicas": [1, 2]}
    assert points(small, 4, name="local") == [
        ("optimizer.lr=0.1", "objective.head=mlp"),
        ("optimizer.lr=0.1", "objective.head=null"),
        ("optimizer.lr=0.2", "objective.head=mlp"),
        ("optimizer.lr=0.2", "objective.head=null"),
    ]
    drawn = points(large, 4, name="delayed")
    assert len(set(drawn)) == 4
    assert drawn == points(large, 4, name="delayed")
    with pytest.raises(UserError, match=r"tune.search.local has 4 settings.*try tune.trials=4"):
        points(small, 5, name="local")


def test_the_mean_over_seeds_decides_and_of_equals_the_first() -> None:
    scores = {"a": (0.9, 0.5), "b": (0.8, 0.8), "c": (0.8, 0.8)}
    trials = [
        Trial("data", (), (settings,), seed, score, done=True)
        for settings, given in scores.items()
        for seed, score in enumerate(given)
    ]
    assert choose(trials, larger=True) == {"data": ("b",)}
    assert choose(trials, larger=False) == {"data": ("a",)}
    assert choose([Trial("data", (), ("a",), 0, 0.0, done=False)], larger=True) == {}


def test_a_target_that_nothing_reached_chooses_nothing(tmp_path: Path) -> None:
    trials = [Trial("data", (), (f"optimizer.lr={lr}",), 0, math.inf, done=lr == 1) for lr in (1, 2)]
    assert choose(trials, larger=False) == {}
    said = record(tmp_path, trials, metric="time_to_target_seconds", larger=False, same={})
    assert said[0] == "data: no settings always have a time_to_target_seconds, so nothing is chosen"


def test_a_choice_at_the_edge_of_what_was_tried_is_told() -> None:
    tried = [(f"optimizer.lr={lr}", f"objective.head={head}") for lr in (0.1, 0.2, 0.3) for head in "ab"]
    assert at_the_edge(("optimizer.lr=0.3", "objective.head=a"), tried) == ("optimizer.lr=0.3",)
    assert at_the_edge(("optimizer.lr=0.2", "objective.head=a"), tried) == ()


@pytest.fixture
def _quick_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerpar.launchers.local.LocalLauncher.launch", launched)
    monkeypatch.setattr("layerpar.results.show_sweep.show_sweep", lambda *_: None)


@pytest.mark.usefixtures("_quick_workers")
def test_settings_are_chosen_written_down_and_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned, reported = tmp_path / "tuned", tmp_path / "reported"
    cli.run(["compare", "experiment=tune", *FEW, *LESS, f"hydra.run.dir={tuned}"], started=time.time())
    assert f"chosen: {tuned / 'chosen.yaml'}" in capsys.readouterr().out
    content = OmegaConf.load(tuned / "chosen.yaml")
    assert content.trials == 2
    assert content.seeds == [1000]
    assert content.settings.serial == content.settings.serial_all_cores
    with (tuned / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = {row["variant"] for row in rows}
    assert names == {"serial", "layerwise_local", "layerwise_delayed"}
    for name in names:
        of_name = [row for row in rows if row["variant"] == name]
        assert [row["chosen"] for row in of_name].count("True") == 1
        assert len(of_name) == 2
        best = max(of_name, key=lambda row: float(row["validation_accuracy"]))
        assert content.settings[name] == best["settings"].split()
    ways = [
        *LESS,
        "~variants.serial_all_cores",
        "~variants.layerwise_local",
        f"chosen={tuned / 'chosen.yaml'}",
    ]
    small = [*TINY, "dataset.validation=0.25"]
    assert cli.run(["compare", *ways, *small, f"hydra.run.dir={reported}"], started=time.time()) == 0
    runs = load([reported]).summaries
    rates = {row["label"]: row["settings"]["optimizer.lr"] for _, row in runs.iterrows()}
    assert content.settings.serial[0] == f"optimizer.lr={rates['serial']}"
    assert set(runs["seed"]) == {0}
    assert "layerwise delayed" in rates, "it was tuned, though a comparison does not list it"
    assert cli.run(["compare", *ways, *small, "seed=1000"], started=time.time()) == 2
    assert "try seed=1001" in capsys.readouterr().err


def test_what_cannot_be_chosen_fairly_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for wrong, repair in (
        ("dataset.validation=0", "try dataset.validation=0.2"),
        ("tune.trials=7", "try tune.trials="),
        ("~tune.search.local", "tune.search has nothing for layerwise_local"),
    ):
        asked = ["compare", "experiment=tune", *FEW, *LESS, f"hydra.run.dir={tmp_path}", wrong]
        assert cli.run(asked, started=0.0) == 2
        assert repair in capfd.readouterr().err
    several = [
        "compare",
        "-m",
        "experiment=tune",
        *FEW,
        *LESS,
        "variants.serial=null",
        "architecture.depth=4,5",
    ]
    assert cli.run([*several, f"hydra.sweep.dir={tmp_path}"], started=0.0) == 2
    assert "one network" in capfd.readouterr().err
    assert not list(tmp_path.rglob("run.yaml"))
