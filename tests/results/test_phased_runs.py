"""Runs of several phases in tables: told by their phases, never taken for one of their modes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from recorded import MODES, write_run

from layerpar.paths import RunDirectory
from layerpar.results.lines import summarise
from layerpar.results.load import load
from layerpar.results.speedup import with_speed_up

HYBRID = {
    "warmup": {"mode": MODES["serial"], "epochs": 1},
    "middle": {"mode": MODES["layerwise"], "objective": {"name": "delayed"}, "epochs": 3},
    "finish": {"mode": MODES["data"], "epochs": 1},
}
LABEL = "serial 1 → layerwise delayed 3 → data 1"


def write_phased(
    root: Path, phases: dict[str, Any] = HYBRID, *, finished: bool = True, **changes: Any
) -> None:
    """A run whose own group is `serial`, which its phases replace."""
    files = RunDirectory(write_run(root, "serial", workers=2, **changes))
    content = yaml.safe_load(files.run_yaml.read_text())
    files.run_yaml.write_text(yaml.safe_dump(content | {"phases": phases}, sort_keys=False))
    summary = json.loads(files.summary.read_text()) | {"mode": "phases", "workers": 2}
    files.summary.write_text(json.dumps(summary))
    if not finished:
        files.summary.unlink()
        files.status.write_text(json.dumps({"status": "running", "phase": None, "message": None}))


def test_a_phased_run_is_named_by_its_phases(tmp_path: Path) -> None:
    write_phased(tmp_path / "done")
    write_phased(tmp_path / "going", finished=False)
    runs = load([tmp_path]).runs
    assert runs["label"].tolist() == [LABEL, LABEL]
    assert runs["mode"].tolist() == ["phases", "phases"]


def test_it_is_no_baseline_but_has_a_speed_up(tmp_path: Path) -> None:
    write_phased(tmp_path / "phased", measured={"train_seconds": 2.0})
    write_run(tmp_path / "serial", measured={"train_seconds": 8.0})
    runs = with_speed_up(load([tmp_path]).runs).set_index("mode")
    assert runs["is_unit"].to_dict() == {"phases": False, "serial": True}
    assert runs.loc["phases", "speed_up"] == 4


def test_seeds_are_one_line_whatever_groups_the_phases_replace(
    tmp_path: Path,
) -> None:
    write_phased(tmp_path / "a", seed=0)
    write_phased(tmp_path / "b", seed=1, mode__name="data")
    lines = summarise(with_speed_up(load([tmp_path]).runs))
    assert lines["num_runs"].tolist() == [2]


def test_other_settings_and_another_order_are_other_lines(tmp_path: Path) -> None:
    write_phased(tmp_path / "a")
    turned = {name: HYBRID[name] for name in ("finish", "middle", "warmup")}
    write_phased(tmp_path / "b", turned)
    middle = HYBRID["middle"] | {"mode": MODES["layerwise"] | {"blocks": 4}}
    write_phased(tmp_path / "c", HYBRID | {"middle": middle})
    lines = summarise(with_speed_up(load([tmp_path]).runs)).set_index("settings")
    assert lines["label"].to_dict() == {
        "": "data 1 → layerwise delayed 3 → serial 1",
        "middle.mode.blocks=4": LABEL,
        "middle.mode.blocks=workers": LABEL,
    }
