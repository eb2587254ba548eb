"""Sweeps by Hydra's plugins: members side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from processes import SMALL, ended, start

from layerpar.measure.status import read_status
from layerpar.paths import RunDirectory

FROM_A_SHELL = ("env",)
"""Executed, not forked from the tests: joblib's own processes start from the command's."""


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_members_run_in_processes_of_the_launcher_and_are_read_from_their_directories(
    launcher: str, tmp_path: Path
) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    asked = ["mode=serial", "epochs=1", "seed=0,1", f"hydra/launcher={launcher}", *SMALL]
    command = start("train", "-m", f"hydra.sweep.dir={tmp_path}", *asked, before=FROM_A_SHELL)
    code, _, error = ended(command, tmp_path)
    assert code == 0, error
    runs = [RunDirectory(path.parent) for path in tmp_path.glob("*/run.yaml")]
    assert [read_status(run)["status"] for run in runs] == ["done", "done"]
    assert all(json.loads(run.summary.read_text())["contended"] for run in runs)
    assert pd.read_csv(tmp_path / "results.csv")["num_done"].tolist() == [2]
