"""Steps before the clock leave no trace in any mode."""

from __future__ import annotations

import pytest
from tiny import build, largest_difference, on_workers, take_steps, tiny, trained
from torch import Tensor

from layerpar.config import RunConfig
from layerpar.loop import warm_up
from layerpar.ranks import Ranks

STEPS = 3
WAYS = (
    "mode=serial",
    "mode=data",
    "mode=data aggregation=momentum aggregation.every=2",
    "mode=data aggregation=ema aggregation.every=2",
    "mode=pipeline mode.partition=[2]",
    "mode=pipeline mode.partition=[1,2,3] mode.schedule=zbv",
    "mode=sequential mode.partition=[2] mode.shares=[1,5]",
    "mode=layerwise mode.partition=[2]",
    "mode=layerwise mode.replicas=2 aggregation=momentum aggregation.every=2",
)


def warmed_up(ranks: Ranks, config: RunConfig, steps: int) -> dict[str, Tensor] | None:
    engine, loader = build(config, ranks)
    warm_up(engine, loader, steps=5)
    take_steps(engine, loader, steps)
    return engine.full_state()


@pytest.mark.parametrize("way", WAYS)
def test_warming_up_leaves_no_trace(way: str) -> None:
    config = tiny(*way.split(), "architecture.norm=batch")
    cold, warm = (
        next(state for state in on_workers(function, config.num_workers, config, STEPS) if state is not None)
        for function in (trained, warmed_up)
    )
    assert largest_difference(cold, warm) == 0
