"""The same seed gives the same weights, whatever else is asked for; with dropout too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import largest_difference, on_workers, tiny
from torch import Tensor

from layerpar.config import RunConfig
from layerpar.loop import Progress
from layerpar.measure.stopwatch import Stopwatch
from layerpar.paths import RunDirectory
from layerpar.ranks import Ranks
from layerpar.trainer import Trainer

DROPOUT = (
    "dataset=synthetic",
    "dataset.train_limit=48",
    "dataset.test_limit=4",
    "batch_size=8",
    "architecture=vgg",
    "architecture.depth=11",
    "architecture.width=4",
    "architecture.dropout=0.5",
    "epochs=2",
    "checkpoint_every=0",
)
WITHOUT_EFFECT = {
    "warm-up": "warmup_steps=3",
    "logging": "log_every_steps=1",
    "tracing": "trace_steps=2",
    "evaluations": "evaluate_every_steps=2",
    "checkpoints": "checkpoint_every=1",
}
MODES = {
    "serial": ("mode=serial",),
    "data": ("mode=data", "workers=2"),
    "local": ("mode=layerwise", "mode.partition=[4]", "workers=2"),
}


def weights(ranks: Ranks, config: RunConfig, root: Path, drawn: int) -> dict[str, Tensor] | None:
    torch.rand(drawn)  # whatever drew before does not matter
    root.mkdir(exist_ok=True, parents=True)
    trainer = Trainer(config, RunDirectory(root), Stopwatch(torch.device("cpu")), Progress())
    _, engine = trainer.run_phases(ranks, started=0.0)
    return engine.full_state()


def end(root: Path, *overrides: str, drawn: int = 1) -> dict[str, Tensor]:
    config = tiny(*DROPOUT, *overrides)
    results = on_workers(weights, config.num_workers, config, root, drawn)
    (state,) = [result for result in results if result is not None]
    return state


@pytest.mark.parametrize("mode", MODES)
def test_what_claims_not_to_matter_does_not(mode: str, tmp_path: Path) -> None:
    expected = end(tmp_path / "as it is", *MODES[mode])
    for name, override in WITHOUT_EFFECT.items():
        found = end(tmp_path / name, *MODES[mode], override, drawn=7)
        assert largest_difference(expected, found) == 0, name


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    one, other = (end(tmp_path / seed, "mode=serial", f"seed={seed}") for seed in "01")
    assert largest_difference(one, other) > 0


@pytest.mark.parametrize(
    "way", ["mode=serial", "mode=sequential mode.partition=[2]", "mode=pipeline workers=2"]
)
def test_evaluations_within_an_epoch_change_no_weights(way: str, tmp_path: Path) -> None:
    common = (
        "dataset.train_limit=96",
        *way.split(),
        "architecture.norm=batch",
        "epochs=2",
        "mode.partition=[2]",
    )
    common = common if "serial" not in common[1] else common[:-1]
    found = []
    for every in (0, 1, 4):
        config = tiny(*common, f"evaluate_every_steps={every}", "checkpoint_every=0")
        results = on_workers(weights, config.num_workers, config, tmp_path / str(every), 1)
        found += [state for state in results if state is not None]
        lines = (tmp_path / str(every) / "metrics.jsonl").read_text().splitlines()
        evaluated = [line for line in lines if '"evaluate"' in line]
        assert len(evaluated) == {0: 2, 1: 12, 4: 4}[every]
    assert largest_difference(found[0], found[1]) == largest_difference(found[0], found[2]) == 0
