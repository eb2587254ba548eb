"""What crosses between workers follows from the objective, unless it is said."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny, weights_after

from layerpar.check import check
from layerpar.errors import UserError

AUTO = {"local": "activations", "delayed": "activations", "frozen": "weights"}


@pytest.mark.parametrize("objective", AUTO)
def test_the_exchange_follows_from_the_objective(objective: str) -> None:
    way = ("mode=layerwise", f"objective={objective}", "workers=2", "mode.partition=[2]")
    config = tiny(*way)
    check(config)
    explicit = tiny(*way, f"mode.exchange={AUTO[objective]}")
    one, other = weights_after(config, 3), weights_after(explicit, 3)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("objective", "exchange"), [("frozen", "activations"), ("delayed", "weights")])
def test_a_senseless_exchange_is_refused(objective: str, exchange: str) -> None:
    config = tiny("mode=layerwise", f"objective={objective}", f"mode.exchange={exchange}")
    with pytest.raises(UserError, match=f"cannot exchange {exchange}: .*; try mode.exchange=auto"):
        check(config)


def test_an_unknown_exchange_is_refused() -> None:
    with pytest.raises(UserError, match=r"mode\.exchange=gradients is not known; try mode\.exchange=auto"):
        tiny("mode.exchange=gradients")
