"""Predicted beside measured seconds of finished runs."""

from __future__ import annotations

import io
import math
import time
from pathlib import Path

import pandas as pd
import pytest
from tiny import TINY, launched

from layerpar import cli
from layerpar.predict.beside import with_predictions
from layerpar.predict.links import LINKS
from layerpar.results.load import Runs, load
from layerpar.results.report import render
from layerpar.results.tables import report_tables

WAYS = {
    "serial": ["mode=serial"],
    "pipeline": ["mode=pipeline", "workers=2"],
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
    assert math.isnan(found["phases"]["predicted_seconds"])


def test_a_table_says_that_they_are_predictions(runs: Runs) -> None:
    (table,) = report_tables(runs)
    assert "predicted seconds" in table.heads
    assert any("predicted seconds: no measurement" in note and "loopback" in note for note in table.notes)
    records = pd.read_csv(io.StringIO(render(runs, format="csv")))
    assert records["predicted_seconds"].notna().sum() == 2


def test_an_unknown_link_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", str(tmp_path), "--predicted", "loop"], started=0.0) == 2
    assert "link=loop is not known" in capsys.readouterr().err
