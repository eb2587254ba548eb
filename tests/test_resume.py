"""`layerpar resume`: a killed run goes on, and what cannot go on is refused in a line."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import ended, start, status_of, wait_until, workers_of
from rich.console import Console

from layerpar.errors import UserError
from layerpar.measure.status import exclusive_lock, write_status
from layerpar.paths import RunDirectory
from layerpar.resume import resume

WORK = (
    "mode=layerwise",
    "workers=2",
    "mode.partition=[2]",
    "architecture.depth=4",
    "architecture.width=128",
    "batch_size=8",
    "epochs=3",
    "log_every_steps=1",
    "device=cpu",
)
"""An epoch of 179 steps, so that there is a middle to be killed in."""


def lines_of(directory: RunDirectory) -> list[dict[str, Any]]:
    text = directory.metrics.read_text() if directory.metrics.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, killed = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "killed")
    assert ended(start("train", f"hydra.run.dir={whole.root}", *WORK), whole.root)[0] == 0
    process = start("train", f"hydra.run.dir={killed.root}", *WORK)
    wait_until(lambda: any(line.get("epoch") == 2 for line in lines_of(killed)))
    process.kill()
    process.communicate()
    wait_until(lambda: not workers_of(killed.root))
    assert status_of(killed)["status"] == "running"
    assert not killed.model.exists()
    code, output, error = ended(start("resume", str(killed.root)), killed.root)
    assert code == 0, error
    assert "goes on after epoch" in output
    assert status_of(killed)["status"] == "done"
    assert not killed.checkpoints.exists()
    one, other = (torch.load(run.model, weights_only=True) for run in (whole, killed))
    assert all(torch.equal(one[name], other[name]) for name in one)
    expected, found = (
        [(line["event"], line.get("step")) for line in lines_of(run)] for run in (whole, killed)
    )
    assert found == expected
    seconds = [line["train_seconds"] for line in lines_of(killed) if line["event"] == "evaluate"]
    assert seconds == sorted(seconds)
    assert json.loads(killed.summary.read_text())["train_seconds"] == seconds[-1]


def refusal(root: Path, **changes: int) -> str:
    with pytest.raises(UserError) as refused:
        resume(root, changes, Console(file=io.StringIO()), started=time.time())
    return str(refused.value)


ENDS = {
    "done": "is done; try layerpar report",
    "refused": "never began (why not); try layerpar train",
    "diverged": "would diverge again (why not); try layerpar train",
    "failed": "has no checkpoint yet; try layerpar train",
    "running": "has no checkpoint yet; try layerpar train",
}


@pytest.mark.parametrize("status", ENDS)
def test_what_cannot_go_on_says_why(tmp_path: Path, status: str) -> None:
    directory = RunDirectory(tmp_path)
    directory.run_yaml.touch()
    write_status(directory, status, message="why not")
    assert f"{tmp_path} {ENDS[status]}" in refusal(tmp_path)


def test_a_directory_that_holds_no_run(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path} holds no run; try one of the directories that hold a run.yaml"


def test_a_run_that_still_goes_on_is_left_alone(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.run_yaml.touch()
    write_status(directory, "running", phase="training")
    with exclusive_lock(directory):
        assert refusal(tmp_path) == f"{tmp_path} is still running; try again once it has ended"


def test_its_directory_is_all_the_command_takes() -> None:
    process = start("resume")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "RUN_DIR" in error
