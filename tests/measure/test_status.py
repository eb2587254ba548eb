"""Files that are whole whenever somebody looks."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from layerpar.measure.status import read_status, write_status
from layerpar.measure.writing import write_json
from layerpar.paths import RunDirectory


def test_json_is_strict_and_nothing_temporary_stays(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    content = {"never": math.inf, "nothing": math.nan, "nested": [{"x": -math.inf}], "kept": 0.5}
    write_json(path, content | {"folder": Path("data", "mine")})
    assert json.loads(path.read_text()) == {
        "never": None,
        "nothing": None,
        "nested": [{"x": None}],
        "kept": 0.5,
        "folder": "data/mine",
    }
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_json(path, {"status": "done"})
    with pytest.raises(TypeError):
        write_json(path, {"status": object()})
    assert json.loads(path.read_text()) == {"status": "done"}


def test_status_says_what_is_known(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    write_status(directory, "diverged", message="loss became nan at step 3", step=3)
    assert read_status(directory) == {
        "status": "diverged",
        "phase": None,
        "message": "loss became nan at step 3",
        "step": 3,
    }
