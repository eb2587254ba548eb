"""Schedules as small tables of factors, and optimizers by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import composed
from torch import nn

from layerpar.optimizers import OptimizerConfig, Schedule


def config(name: str, *, warmup: float = 0.0, algorithm: str = "SGD", **arguments: Any) -> OptimizerConfig:
    schedule = Schedule(name=name, warmup=warmup, milestones=[0.5, 0.75], factor=0.1)
    return OptimizerConfig(name="x", algorithm=algorithm, lr=1.0, arguments=arguments, schedule=schedule)


def rates(options: OptimizerConfig, steps: int) -> list[float]:
    """The learning rate of each step."""
    updater = options.updater([nn.Parameter(torch.zeros(1))], steps)
    seen = []
    for _ in range(steps):
        seen.append(updater._optimizer.param_groups[0]["lr"])
        updater.step()
    return seen


def test_constant() -> None:
    assert rates(config("constant"), 4) == [1, 1, 1, 1]


def test_warmup_rises_linearly_to_the_rate() -> None:
    assert rates(config("constant", warmup=0.5), 6) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


def test_cosine_falls_to_zero() -> None:
    assert rates(config("cosine"), 4) == pytest.approx([1, 0.8536, 0.5, 0.1464], abs=1e-4)


def test_step_drops_at_fractions_of_the_run_whatever_the_warmup() -> None:
    assert rates(config("step"), 8) == pytest.approx([1] * 4 + [0.1] * 2 + [0.01] * 2)
    assert rates(config("step", warmup=0.25), 8)[2:] == pytest.approx([1] * 2 + [0.1] * 2 + [0.01] * 2)


def test_onecycle_peaks_at_the_rate() -> None:
    seen = rates(config("onecycle", warmup=0.5), 8)
    assert 0.95 < max(seen) <= 1
    assert seen.index(max(seen)) == 4
    assert seen[0] < 0.2 > seen[-1]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_resuming_goes_on_exactly(name: str) -> None:
    options = composed(f"optimizer={name}").optimizer

    def train(parameter: nn.Parameter, updater: Any, steps: range) -> None:
        for step in steps:
            parameter.grad = torch.full_like(parameter, 1.0 + step)
            updater.step()

    whole = nn.Parameter(torch.ones(3))
    train(whole, options.updater([whole], 6), range(6))
    halves = nn.Parameter(torch.ones(3))
    first = options.updater([halves], 6)
    train(halves, first, range(3))
    second = options.updater([halves], 6)
    second.load_state_dict(first.state_dict())
    train(halves, second, range(3, 6))
    assert torch.equal(whole, halves)


def test_any_optimizer_of_torch() -> None:
    parameter = nn.Parameter(torch.ones(1))
    parameter.grad = torch.ones(1)
    updater = config("constant", algorithm="RMSprop", momentum=0.5).updater([parameter], 3)
    updater.step()
    assert parameter.item() < 1
    assert parameter.grad is None
