"""Replace, average, damped and momentum."""

import pytest
import torch
from course import (
    ALONE,
    SEEDS,
    Replicas,
    average,
    course,
    damped,
    ema,
    identical,
    mapped,
    momentum,
    proposals,
    replace,
    vector,
)
from hypothesis import given
from hypothesis import strategies as st

from layerpar.aggregation import Blocks


def test_replace_and_ema_hand_back_the_very_tensors_they_were_given() -> None:
    (proposed,) = proposals(0, 1)
    for aggregation in (replace(), average(), ema(0.9)):
        rule = aggregation.rule()
        assert not rule.needs_common
        assert rule.combine(proposed, proposed, ALONE) is proposed


@given(SEEDS)
def test_damped_by_one_is_replace_to_the_last_bit(seed: int) -> None:
    common, proposed = proposals(seed, 2)
    assert identical(damped(1.0).rule().combine(common, proposed, ALONE), proposed)


@given(SEEDS, st.floats(0.01, 1.0))
def test_damped_goes_alpha_of_the_way(seed: int, alpha: float) -> None:
    common, proposed = proposals(seed, 2)
    expected = mapped(lambda w, p: w + alpha * (p - w), common, proposed)
    found = damped(alpha).rule().combine(common, proposed, ALONE)
    torch.testing.assert_close(vector(found), vector(expected))


@given(SEEDS)
def test_jacobi_averaging_of_blocks_never_increases_a_convex_loss(seed: int) -> None:
    # Each block alone lowers the loss, so by convexity their mean does; all of them at once may not.
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    hessian = root @ root.T + 0.1 * torch.eye(6, dtype=torch.float64)
    common = [[torch.randn(2, generator=generator, dtype=torch.float64)] for _ in range(3)]

    def loss(weights: Blocks) -> float:
        return float(vector(weights) @ hessian @ vector(weights))

    before, gradient = loss(common), (hessian @ vector(common)).reshape(3, 2)
    solved = [
        [own[0] - torch.linalg.solve(hessian[2 * k : 2 * k + 2, 2 * k : 2 * k + 2], gradient[k])]
        for k, own in enumerate(common)
    ]
    assert loss(damped(1 / 3).rule().combine(common, solved, ALONE)) <= before


@given(SEEDS)
def test_average_is_the_mean_over_replicas_in_any_order(seed: int) -> None:
    first, second, third = proposals(seed, 3)
    expected = mapped(lambda a, b, c: (a + b + c) / 3, first, second, third)
    for own, others in ((first, [second, third]), (third, [first, second])):
        found = average().rule().combine(own, own, Replicas(others))
        torch.testing.assert_close(vector(found), vector(expected))


@given(SEEDS, st.floats(0.01, 1.0), st.booleans())
def test_momentum_without_velocity_is_damped_to_the_last_bit(seed: int, alpha: float, nesterov: bool) -> None:
    start, *steps = proposals(seed, 4)
    expected = course(damped(alpha), steps, start=start)
    found = course(momentum(alpha, 0.0, nesterov=nesterov), steps, start=start)
    assert identical(found[-1], expected[-1])


@pytest.mark.parametrize("nesterov", [False, True])
def test_three_rounds_of_momentum_written_out(nesterov: bool) -> None:
    start, *steps = proposals(2, 4)
    weights, velocity = vector(start), torch.zeros_like(vector(start))
    found = course(momentum(0.7, 0.9, nesterov=nesterov), steps, start=start)
    for step, combined in zip(steps, found, strict=True):
        delta = vector(step)
        velocity = 0.9 * velocity + delta
        weights = weights + 0.7 * (delta + 0.9 * velocity if nesterov else velocity)
        torch.testing.assert_close(vector(combined), weights)


def test_momentum_is_torch_sgd_on_the_negative_step() -> None:
    start, *steps = proposals(3, 5)
    weights = vector(start).requires_grad_()
    sgd = torch.optim.SGD([weights], lr=0.7, momentum=0.9, nesterov=True)
    found = course(momentum(0.7, 0.9, nesterov=True), steps, start=start)
    for step, combined in zip(steps, found, strict=True):
        weights.grad = -vector(step)
        sgd.step()
        torch.testing.assert_close(vector(combined), weights.detach())
