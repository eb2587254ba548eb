"""What a person reads when a run has ended."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from recorded import write_run
from rich.console import Console

from layerpar.paths import RunDirectory
from layerpar.results.show_run import pins, show_run


def shown(root: Path, *, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    show_run(root, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def log(root: Path, *lines: dict[str, Any]) -> RunDirectory:
    files = RunDirectory(root)
    with files.metrics.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return files


def test_predicted_and_measured_load_stand_beside_each_other_with_the_cut(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", "pipeline", epochs=1)
    files = log(root, {"event": "engine", "cuts": [4], "predicted_loads": [0.01, 0.02]})
    summary = json.loads(files.summary.read_text())
    for rank, seconds in zip(summary["ranks"], (0.0104, 0.02), strict=True):
        rank |= {"predicted_step_seconds": seconds, "busy_seconds": 1.25}
    files.summary.write_text(json.dumps(summary))
    rows = [line.split() for line in shown(root).splitlines()]
    loads = {row[0]: row[5:7] for row in rows if row and row[0] in ("0", "1")}
    assert loads == {"0": ["10.4", "12.5"], "1": ["20.0", "12.5"]}
    assert "mode.partition=[4]\n" in shown(root)


def test_a_mode_that_cuts_nothing_shows_no_prediction(tmp_path: Path) -> None:
    text = shown(write_run(tmp_path / "run", "serial"))
    assert "predicted" not in text
    assert "partition" not in text


def test_every_phase_that_cut_has_a_pin_of_its_own(tmp_path: Path) -> None:
    cut = {"event": "engine", "cuts": [2, 5]}
    phases = [{"event": "phase", "name": name} for name in ("warmup", "parallel")]
    files = log(write_run(tmp_path / "run"), phases[0], phases[1], cut, cut)
    assert pins(files) == ["phases.parallel.mode.partition=[2,5]"]


def test_forty_columns_cut_no_number_and_brackets_stay(tmp_path: Path) -> None:
    root = write_run(tmp_path / "[old]", "layerwise")
    text = shown(root, width=40)
    assert "…" not in text
    summary = json.loads(RunDirectory(root).summary.read_text())
    assert f"{summary['ranks'][0]['busy_seconds']:.2f}" in text
    assert f"run directory: {root}\n" in text
    assert "layerwise local on digits" in text


def test_a_run_is_shown_without_waiting_for_what_draws() -> None:
    code = "import sys, layerpar.results.show_run; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"pandas", "matplotlib"}.isdisjoint(shown.stdout.split())
