"""Spike compensation against torch's own SGD where nothing is late, and against its formula where it is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from layerpar.objectives.compensation import SpikeSGD

LR, MOMENTUM, STEPS = 0.1, 0.9, 6


def updated(build: type[torch.optim.Optimizer], **options: float) -> Tensor:
    """Weights after a few steps by gradients that depend on them."""
    weights = torch.linspace(-1, 1, 7).requires_grad_()
    optimizer = build([weights], lr=LR, momentum=MOMENTUM, **options)
    for step in range(STEPS):
        weights.grad = torch.sin(3 * weights.detach() + step)
        optimizer.step()
    return weights.detach()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("nesterov", [False, True])
def test_without_delay_it_is_the_momentum_of_torch(nesterov: bool, weight_decay: float) -> None:
    options = {"nesterov": nesterov, "weight_decay": weight_decay}
    compensated = updated(SpikeSGD, delay=0, **options)
    torch.testing.assert_close(compensated, updated(torch.optim.SGD, **options), atol=3e-7, rtol=0)


@pytest.mark.parametrize("delay", [0.5, 1, 3])
@pytest.mark.parametrize("nesterov", [False, True])
def test_with_delay_it_is_its_formula(nesterov: bool, delay: float) -> None:
    """v ← m v + g; w ← w - lr (a v + b g)."""
    a = MOMENTUM ** (delay + nesterov)
    b = sum(MOMENTUM**late for late in range(int(delay + nesterov)))  # the geometric series, if it is whole
    if delay != int(delay):
        b = (1 - a) / (1 - MOMENTUM)
    weights, velocity = torch.linspace(-1, 1, 7), torch.zeros(7)
    for step in range(STEPS):
        gradient = torch.sin(3 * weights + step)
        velocity = MOMENTUM * velocity + gradient
        weights = weights - LR * (a * velocity + b * gradient)
    torch.testing.assert_close(updated(SpikeSGD, delay=delay, nesterov=nesterov), weights, atol=1e-6, rtol=0)


def test_all_that_a_gradient_ever_does_adds_up_to_what_momentum_makes_of_it() -> None:
    """Compensation moves its effect forward in time; the sum over all steps to come stays 1 / (1 - m)."""
    weights = torch.zeros(1, requires_grad=True)
    optimizer = SpikeSGD([weights], lr=LR, momentum=MOMENTUM, delay=2)
    for step in range(300):
        weights.grad = torch.tensor([float(step == 0)])
        optimizer.step()
    assert float(weights.detach()) == pytest.approx(-LR / (1 - MOMENTUM), rel=1e-5)


def test_a_parameter_without_a_gradient_stays() -> None:
    weights = [torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)]
    optimizer = SpikeSGD(weights, lr=LR, momentum=MOMENTUM, delay=1, weight_decay=0.1)
    weights[0].grad = torch.ones(2)
    optimizer.step()
    assert not torch.equal(weights[0], torch.ones(2))
    assert torch.equal(weights[1], torch.ones(2))
