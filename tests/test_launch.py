"""Real processes: what a run leaves behind when it ends well, and when it does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from processes import (
    SMALL,
    Started,
    ended,
    ended_at_once,
    endless,
    is_training,
    start,
    status_of,
    wait_until,
    workers_of,
)

from layerpar.launchers.base import KEEP_MEMORY, worker_environment
from layerpar.paths import RunDirectory

SUMMARY_KEYS = [
    "status",
    "mode",
    "objective",
    "aggregation",
    "dataset",
    "architecture",
    "depth",
    "num_parameters",
    "workers",
    "replicas",
    "device",
    "threads_per_worker",
    "seed",
    "epochs",
    "batch_size",
    "train_seconds",
    "samples_per_second",
    "test_accuracy",
    "best_test_accuracy",
    "test_loss",
    "target_accuracy",
    "time_to_target_seconds",
    "steps",
    "start_seconds",
    "contended",
    "paused_seconds",
    "ranks",
    "phases",
]
RANK_KEYS = [
    "rank",
    "block",
    "layers",
    "busy_seconds",
    "wait_seconds",
    "exchange_seconds",
    "sent_bytes",
    "peak_memory_bytes",
    "predicted_step_seconds",
    "paused_seconds",
]


@pytest.fixture(name="endless")
def training_layerwise(tmp_path: Path) -> Iterator[tuple[Started, RunDirectory]]:
    """A run with two workers that is training and would go on for hours."""
    with endless(tmp_path / "run", "mode=layerwise") as found:
        yield found


def test_workers_keep_their_memory_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEEP_MEMORY:
        monkeypatch.delenv(name, raising=False)
    assert KEEP_MEMORY.items() <= worker_environment(0.0).items()
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert worker_environment(0.0)["MALLOC_TRIM_THRESHOLD_"] == "131072"


def test_a_run_leaves_its_records(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    overrides = ["mode=layerwise", "workers=2", "epochs=2", "optimizer.lr=0.05", *SMALL]
    code, output, error = ended(start("train", f"hydra.run.dir={directory.root}", *overrides), tmp_path)
    assert code == 0, error
    assert str(directory.root) in output
    assert status_of(directory)["status"] == "done"
    summary = json.loads(directory.summary.read_text())
    assert set(summary) >= set(SUMMARY_KEYS), "tools read these"
    assert all(set(rank) >= set(RANK_KEYS) for rank in summary["ranks"])
    assert summary["steps"] == 2 * (256 // 64)
    first, second = summary["ranks"]
    activations = summary["steps"] * 64 * 32 * 4
    assert (first["sent_bytes"], second["sent_bytes"]) == (activations, 0)
    for rank in summary["ranks"]:
        total = rank["busy_seconds"] + rank["wait_seconds"] + rank["exchange_seconds"]
        assert total == pytest.approx(summary["train_seconds"])
    lines = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    evaluations = [line for line in lines if line["event"] == "evaluate"]
    assert [line["epoch"] for line in evaluations] == [1, 2]
    assert evaluations[-1]["test_accuracy"] == summary["test_accuracy"]
    assert evaluations[-1]["train_seconds"] == summary["train_seconds"]
    assert {"block/0/loss", "block/1/loss"} <= set(evaluations[0])
    state = torch.load(directory.model, weights_only=True)
    assert sum(tensor.numel() for tensor in state.values()) == summary["num_parameters"]
    assert (
        json.loads(directory.environment.read_text())["versions"]["torch"]
        == torch.__version__.partition("+")[0]
    )
    assert not list(directory.root.glob("*.tmp"))


def test_replicas_of_a_chain_share_the_workers(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    overrides = ["mode=layerwise", "mode.replicas=2", "workers=4", "epochs=1", *SMALL]
    code, _, error = ended(start("train", f"hydra.run.dir={directory.root}", *overrides), tmp_path)
    assert code == 0, error
    summary = json.loads(directory.summary.read_text())
    assert (summary["workers"], summary["replicas"]) == (4, 2)
    assert [rank["block"] for rank in summary["ranks"]] == ["0", "1", "0", "1"]


def test_the_same_directory_runs_under_torchrun(tmp_path: Path) -> None:
    once, again = RunDirectory(tmp_path / "once"), RunDirectory(tmp_path / "again")
    overrides = ["mode=layerwise", "workers=2", "epochs=1", *SMALL]
    assert ended(start("train", f"hydra.run.dir={once.root}", *overrides), tmp_path)[0] == 0
    again.root.mkdir()
    again.run_yaml.write_text(once.run_yaml.read_text())
    command = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "layerpar.worker",
    ]
    subprocess.run([sys.executable, *command, str(again.root)], check=True, capture_output=True)
    one, other = (torch.load(run.model, weights_only=True) for run in (once, again))
    partition = [json.loads(run.metrics.read_text().splitlines()[0])["cuts"] for run in (once, again)]
    if partition[0] == partition[1]:
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_killed_worker_ends_the_run(endless: tuple[Started, RunDirectory]) -> None:
    process, directory = endless
    os.kill(workers_of(directory.root)[0], signal.SIGKILL)
    code, _, error = ended_at_once(process, directory.root)
    assert code == 1
    status = status_of(directory)
    assert status["status"] == "failed"
    assert "SIGKILL" in status["message"]
    assert status["message"] in error
    assert json.loads(directory.summary.read_text())["status"] == "failed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run(endless: tuple[Started, RunDirectory], number: signal.Signals) -> None:
    process, directory = endless
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    code, _, error = ended_at_once(process, directory.root)
    assert code == 128 + number
    assert number.name in error
    assert "Traceback" not in error
    assert status_of(directory)["status"] == "interrupted"


def test_workers_do_not_outlive_a_killed_parent(endless: tuple[Started, RunDirectory]) -> None:
    process, directory = endless
    process.kill()
    wait_until(lambda: not workers_of(directory.root))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_keeps_what_is_done(tmp_path: Path, number: signal.Signals) -> None:
    sweep = tmp_path / "sweep"
    overrides = ["mode=serial", "epochs=1,100000,2", "hydra.sweep.subdir=${hydra:job.num}", *SMALL]
    process = start("train", "-m", f"hydra.sweep.dir={sweep}", *overrides)
    first, second, third = (RunDirectory(sweep / str(job)) for job in range(3))
    wait_until(lambda: is_training(second))
    summary = first.summary.read_bytes()
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    code, output, _ = ended_at_once(process, sweep)
    assert code == 128 + number
    assert status_of(first)["status"] == "done"
    assert status_of(second)["status"] == "interrupted"
    assert not third.root.exists()
    assert first.summary.read_bytes() == summary
    assert "serial" in output
    assert "interrupted" in output


def test_a_raising_worker_is_named_and_the_sweep_goes_on(tmp_path: Path) -> None:
    """The architecture comes from a file of the user's own: one Python file, no change to the package."""
    (tmp_path / "fragile.py").write_text(
        "from dataclasses import dataclass\n"
        "from torch import nn\n"
        "from layerpar.architectures.mlp import MLP\n"
        "class Breaks(nn.Module):\n"
        "    def forward(self, activation):\n"
        "        raise RuntimeError('the wire is cut')\n"
        "@dataclass(kw_only=True)\n"
        "class Fragile(MLP):\n"
        "    def build(self, input_shape, num_classes):\n"
        "        network = super().build(input_shape, num_classes)\n"
        "        if self.width == 33:\n"
        "            network.layers[1].norm = Breaks()\n"
        "        return network\n"
    )
    sweep = tmp_path / "sweep"
    small = [item for item in SMALL if "width" not in item]
    overrides = [
        "architecture.width=33,32",
        "architecture._target_=fragile.Fragile",
        "mode=serial",
        "epochs=1",
    ]
    directory = [f"hydra.sweep.dir={sweep}", "hydra.sweep.subdir=${hydra:job.num}"]
    code, output, _ = ended(
        start("train", "-m", *directory, *overrides, *small, PYTHONPATH=str(tmp_path)), sweep
    )
    assert code == 1
    failed = status_of(RunDirectory(sweep / "0"))
    assert failed["status"] == "failed"
    assert "the wire is cut" in failed["message"]
    assert "logs/0/stderr.log" in failed["message"]
    assert failed["rank"] == 0
    assert status_of(RunDirectory(sweep / "1"))["status"] == "done"
    assert "failed" in output


@pytest.mark.parametrize("mode", ["serial", "layerwise"])
def test_a_loss_that_is_not_finite_names_its_step(tmp_path: Path, mode: str) -> None:
    directory = RunDirectory(tmp_path / "run")
    overrides = [f"mode={mode}", "epochs=3", "architecture.norm=none", "optimizer.lr=1e30", *SMALL]
    code, _, error = ended(start("train", f"hydra.run.dir={directory.root}", *overrides), tmp_path)
    assert code == 1
    status = status_of(directory)
    assert status["status"] == "diverged"
    assert 1 <= status["step"] <= 4
    assert f"step {status['step']}" in error
    assert json.loads(directory.summary.read_text())["status"] == "diverged"
