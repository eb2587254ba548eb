"""Predicted beside measured seconds of finished runs."""

from __future__ import annotations

import io
import math
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest
from tiny import TINY, launched

from layerpar import cli
from layerpar.predict.beside import with_predictions
from layerpar.predict.links import LINKS, Link
from layerpar.results.load import Runs, load
from layerpar.results.plots.draw import picture
from layerpar.results.report import render
from layerpar.results.tables import report_tables

WAYS = {
    "serial": ["mode=serial"],
    "pipeline": ["mode=pipeline", "workers=2"],
    "blocks_2": ["mode=layerwise", "objective=local", "mode.partition=[1]", "workers=1"],
    "blocks_3": ["mode=layerwise", "objective=local", "mode.partition=[1,2]", "workers=1"],
    "phases": ["+mode@phases.a.mode=serial", "+phases.a.epochs=1"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("layerpar.launchers.local.LocalLauncher.launch", launched)
        for name, own in WAYS.items():
            assert cli.run(["train", *TINY, *own, f"hydra.run.dir={root / name}"], started=time.time()) == 0
    return with_predictions(load([root]), LINKS["loopback"])


def test_a_run_that_cuts_nothing_is_predicted_by_what_its_like_recorded(runs: Runs) -> None:
    found = {Path(run["path"]).name: run for run in runs.summaries.to_dict("records")}
    for name in ("serial", "pipeline"):
        assert 0 < found[name]["predicted_seconds"] < 10
        assert math.isnan(found[name]["predicted_block_speed_up"])
    assert math.isnan(found["phases"]["predicted_seconds"])


def test_blocks_are_predicted_with_a_worker_each_however_many_trained_them(runs: Runs) -> None:
    found = {Path(run["path"]).name: run for run in runs.summaries.to_dict("records")}
    slow = with_predictions(runs, Link("slow", latency=1.0, bandwidth=1e9))
    late = {Path(run["path"]).name: run for run in slow.summaries.to_dict("records")}
    for name in ("blocks_2", "blocks_3"):
        assert found[name]["workers"] == 1
        assert found[name]["predicted_block_speed_up"] > 0
        assert late[name]["predicted_block_speed_up"] < found[name]["predicted_block_speed_up"]
        assert late[name]["predicted_seconds"] == found[name]["predicted_seconds"]


def test_the_figure_over_blocks_shows_the_prediction_as_such(runs: Runs) -> None:
    figure = picture(runs, "accuracy_vs_blocks").figure
    accuracy, predicted = figure.axes
    assert accuracy.get_ylabel() == "test accuracy (%)"
    assert predicted.get_title(loc="left") == "prediction: a worker for every block, loopback"
    assert [list(line.get_xdata()) for line in predicted.lines if line.get_label() == "layerwise local"] == [
        [2, 3]
    ]


@pytest.mark.parametrize("text", ["", "mode:\n  name: ser", "a: [", "- 1\n"])
def test_a_damaged_run_yaml_costs_its_own_prediction_only(runs: Runs, tmp_path: Path, text: str) -> None:
    source = next(Path(path) for path in runs.summaries["path"] if path.endswith("pipeline"))
    for name in ("one", "other"):
        shutil.copytree(source, tmp_path / name)
    (tmp_path / "other" / "run.yaml").write_text(text)
    found = with_predictions(load([tmp_path]), LINKS["loopback"]).summaries.set_index("path")
    assert found.loc[str(tmp_path / "one"), "predicted_seconds"] > 0
    assert math.isnan(found.loc[str(tmp_path / "other"), "predicted_seconds"])


def test_a_table_says_that_they_are_predictions(runs: Runs) -> None:
    (table,) = report_tables(runs)
    assert "predicted seconds" in table.heads
    assert any("predicted seconds: no measurement" in note and "loopback" in note for note in table.notes)
    records = pd.read_csv(io.StringIO(render(runs, format="csv")))
    assert records["predicted_seconds"].notna().sum() == 4


def test_an_unknown_link_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", str(tmp_path), "--predicted", "loop"], started=0.0) == 2
    assert "link=loop is not known" in capsys.readouterr().err
