"""layerpar from Python, as in a notebook."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import matplotlib.figure
import pandas as pd
import pytest
from tiny import TINY, launched

import layerpar
from layerpar.errors import UserError

README = Path(__file__).parents[1] / "README.md"
LESS = ("~variants.serial_all_cores", "~variants.pipeline", "~variants.sequential")
SMALL = [override for override in TINY if not override.startswith("epochs")]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("layerpar.launchers.local.LocalLauncher.launch", launched)


def test_the_notebook_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands there, but for the size of the network."""
    blocks = re.findall(r"```python\n(import layerpar\n.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 1
    compare = layerpar.compare
    monkeypatch.setitem(vars(layerpar), "compare", lambda *overrides: compare(*SMALL, *LESS, *overrides))
    names: dict[str, object] = {}
    exec(blocks[0], names)
    runs, figure, groups = (names[name] for name in ("runs", "figure", "groups"))
    assert isinstance(runs, layerpar.results.load.Runs)  # type: ignore[attr-defined]
    assert set(runs.summaries["status"]) == {"done"}
    assert isinstance(figure, matplotlib.figure.Figure)
    assert isinstance(groups, pd.DataFrame)
    assert {"serial", "layerwise local"} <= set(groups["label"])


def test_a_run_from_python_is_the_commands_and_leaves_the_command_line_alone(tmp_path: Path) -> None:
    before = list(sys.argv)
    runs = layerpar.train(*SMALL, "mode=serial", "epochs=2", "hydra.run.dir='here'")
    assert sys.argv == before
    assert (tmp_path / "here" / "summary.json").exists()
    (row,) = runs.summaries.to_dict("records")
    assert (row["label"], row["status"], row["epochs"]) == ("serial", "done", 2)
    assert runs.evaluations["epoch"].tolist() == [1, 2]
    again = layerpar.load("here")
    pd.testing.assert_frame_equal(again.summaries, runs.summaries)


def test_a_sweep_has_a_row_per_run() -> None:
    runs = layerpar.train("-m", *SMALL, "mode=serial", "epochs=1", "seed=0,1")
    assert sorted(runs.summaries["seed"]) == [0, 1]
    assert len(list(Path("outputs").glob("*/*/results.html"))) == 1


def test_mistakes_are_told_in_one_line() -> None:
    with pytest.raises(UserError, match="try mode="):
        layerpar.train("mode=magic")
    with pytest.raises(UserError, match="batch_size=5000 is larger"):
        layerpar.train("mode=serial", "batch_size=5000")
    with pytest.raises(UserError, match="is not a directory"):
        layerpar.load("nowhere")
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        _ = layerpar.magic


def test_a_figure_has_a_name() -> None:
    runs = layerpar.train(*SMALL, "mode=serial", "epochs=2")
    assert isinstance(layerpar.plot(runs, "loss_vs_epoch"), matplotlib.figure.Figure)
    with pytest.raises(UserError, match="name=magic is not known; try name=comparison"):
        layerpar.plot(runs, "magic")


def test_importing_is_light() -> None:
    code = (
        "import sys, layerpar; heavy = {'torch', 'pandas', 'matplotlib', 'hydra'};"
        "assert not heavy & set(sys.modules);"
        "layerpar.load; assert not {'torch', 'matplotlib', 'hydra'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
