"""A run that was stopped and resumed is the run that was never stopped, to the last bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import on_workers, tiny
from torch import Tensor

from layerpar import checkpoint
from layerpar.config import RunConfig
from layerpar.engine import cuts
from layerpar.loop import Progress
from layerpar.measure.stopwatch import Stopwatch
from layerpar.paths import RunDirectory
from layerpar.ranks import Ranks
from layerpar.trainer import Trainer

Weights = dict[str, Tensor]
CUT = "mode.partition=[2]"
ROUNDS = "aggregation.every=4"
ONE_WORKER = {
    "serial": "mode=serial architecture.norm=batch",
    "adam, one cycle": "mode=serial optimizer=adamw optimizer.schedule.name=onecycle",
    "drops after a warm-up": "mode=serial optimizer.schedule.name=step optimizer.schedule.warmup=0.5",
    "sequential": "mode=sequential mode.partition=[1,3]",
    "phases": "experiment=hybrid phases.layerwise.epochs=1 workers=1",
}
DROPOUT = (
    "mode=serial",
    "dataset=synthetic",
    "dataset.train_limit=16",
    "dataset.test_limit=4",
    "batch_size=8",
    "architecture=vgg",
    "architecture.depth=11",
    "architecture.width=4",
    "architecture.dropout=0.5",
)
TWO_WORKERS = {
    "data": "mode=data architecture.norm=batch",
    "local SGD": f"mode=data aggregation=momentum {ROUNDS}",
    "pipeline": f"mode=pipeline architecture.norm=batch {CUT}",
    "local": f"mode=layerwise objective=local architecture.norm=batch {CUT}",
    "delayed": f"mode=layerwise objective=delayed aggregation=anderson {ROUNDS} {CUT}",
    "recomputed": f"mode=layerwise objective=delayed objective.recompute=true aggregation=ema {CUT}",
    "frozen": f"mode=layerwise objective=frozen mode.exchange=weights aggregation=trust_region {CUT}",
    "replicas": f"mode=layerwise mode.replicas=2 architecture.norm=batch aggregation=momentum {ROUNDS}",
    "phases": "experiment=hybrid phases.layerwise.epochs=1 phases.layerwise.mode.partition=[2]",
}


class StoppedError(Exception):
    """Stands for whatever ends a worker."""


def trainer_of(config: RunConfig, root: Path) -> Trainer:
    directory = RunDirectory(root)
    root.mkdir(exist_ok=True)
    return Trainer(config, directory, Stopwatch(torch.device("cpu")), Progress())


def followed(
    ranks: Ranks, ways: dict[str, RunConfig], root: Path, stop: int | None
) -> dict[str, tuple[Weights | None, Progress, float]]:
    """Each run, until after its checkpoint of epoch `stop` or to its end, one after the other."""
    plain, found = checkpoint.save, {}

    def save(directory: RunDirectory, content: dict[str, Any], *, epoch: int, owner: bool) -> None:
        plain(directory, content, epoch=epoch, owner=owner)
        if epoch == stop:
            raise StoppedError

    checkpoint.save = save
    for name, config in ways.items():
        trainer = trainer_of(config, root / name)
        try:
            _, engine = trainer.run_phases(ranks, started=0.0)
            found[name] = (engine.full_state(), trainer.progress, trainer.stopwatch.seconds)
        except StoppedError:
            torch.manual_seed(5)  # what comes next finds no trace of this run
    return found


def check_resuming(ways: dict[str, RunConfig], root: Path, world_size: int) -> None:
    """Stopped after any of its epochs but the last."""
    whole = on_workers(followed, world_size, ways, root, None)
    stopped = root / "stopped"
    stopped.mkdir()
    for stop in (1, 2):
        assert on_workers(followed, world_size, ways, stopped, stop) == [{}] * world_size
    resumed = on_workers(followed, world_size, ways, stopped, None)
    for name in ways:
        for (expected, progress, _), (state, again, seconds) in zip(
            (rank[name] for rank in whole), (rank[name] for rank in resumed), strict=True
        ):
            assert (state is None) == (expected is None), name
            if expected is not None and state is not None:
                assert state.keys() == expected.keys()
                assert all(torch.equal(state[key], expected[key]) for key in expected), name
            assert (again.epoch, again.step) == (progress.epoch, progress.step)
            assert again.assignments == progress.assignments
            scores = [[score[1:] for score in each.evaluations] for each in (progress, again)]
            assert scores[0] == scores[1], name
            assert seconds == pytest.approx(again.train_seconds)
        lines = [json.loads(line) for line in (stopped / name / "metrics.jsonl").read_text().splitlines()]
        evaluated = [line["epoch"] for line in lines if line["event"] == "evaluate"]
        assert evaluated == [1, 2, 3], "metrics are those of one run"


def test_one_worker(tmp_path: Path) -> None:
    ways = {name: tiny("epochs=3", "warmup_steps=2", *way.split()) for name, way in ONE_WORKER.items()}
    check_resuming(ways, tmp_path, 1)


def test_two_workers(tmp_path: Path) -> None:
    ways = {name: tiny("epochs=3", "warmup_steps=2", *way.split()) for name, way in TWO_WORKERS.items()}
    check_resuming(ways, tmp_path, 2)


def followed_without_measuring(ranks: Ranks, ways: dict[str, RunConfig], root: Path) -> list[Any]:
    cuts.measure = None
    return followed(ranks, ways, root, None)["run"][1].assignments


def test_what_was_measured_once_is_not_measured_again(tmp_path: Path) -> None:
    """Another measuring could cut elsewhere, and another cut is another run."""
    ways = {"run": tiny("epochs=2", "mode=layerwise", "mode.blocks=3")}
    on_workers(followed, 2, ways, tmp_path, 1)
    folder = checkpoint.newest(RunDirectory(tmp_path / "run"))
    assert folder is not None
    before = [checkpoint.load(folder, rank)["progress"]["assignments"] for rank in range(2)]
    assert on_workers(followed_without_measuring, 2, ways, tmp_path) == before


def test_dropout_draws_go_on(tmp_path: Path) -> None:
    check_resuming({"vgg": tiny(*DROPOUT, "epochs=3")}, tmp_path, 1)


def test_a_checkpoint_holds_plain_values_and_the_older_one_is_gone(tmp_path: Path) -> None:
    config = tiny("epochs=4", "checkpoint_every=2", "mode=serial")
    on_workers(followed, 1, {"run": config}, tmp_path, None)
    assert [folder.name for folder in (tmp_path / "run" / "checkpoint").iterdir()] == ["2"]
    folder = checkpoint.newest(RunDirectory(tmp_path / "run"))
    assert folder is not None
    assert checkpoint.load(folder, 0)["progress"]["epoch"] == 2


def test_a_half_written_checkpoint_does_not_count(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    assert checkpoint.newest(directory) is None
    for name in ("9", "10", "11.tmp"):
        (directory.checkpoints / name).mkdir(parents=True)
    found = checkpoint.newest(directory)
    assert found is not None
    assert found.name == "10"


def test_never_means_never(tmp_path: Path) -> None:
    config = tiny("epochs=3", "checkpoint_every=0", "mode=serial")
    on_workers(followed, 1, {"run": config}, tmp_path, None)
    assert not RunDirectory(tmp_path / "run").checkpoints.exists()
