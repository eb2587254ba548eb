"""A joint step is taken as far as the probe loss keeps its promise."""

import math

import pytest
import torch
from course import (
    ALONE,
    SEEDS,
    bowl,
    copied,
    identical,
    mapped,
    proposals,
    trust_region,
    vector,
)
from hypothesis import given
from hypothesis import strategies as st

from layerpar.aggregation import Alone, Blocks


@given(SEEDS, st.floats(0.01, 100.0), st.floats(0.01, 10.0))
def test_a_trust_region_only_takes_steps_within_its_radius_that_lower_the_loss(
    seed: int, radius: float, length: float
) -> None:
    start, *steps = proposals(seed, 9)
    rule, common = trust_region(radius).rule(), copied(start)
    for step in steps:
        before, allowed, accepted = copied(common), rule.scalars()["radius"], rule.accepted
        proposed = mapped(lambda w, s: w + length * s, common, step)
        common = rule.combine(common, proposed, ALONE)
        moved = float((vector(common) - vector(before)).norm())
        assert moved <= allowed * (1 + 1e-9)
        if rule.accepted > accepted:
            assert bowl(common) < bowl(before)
        else:
            assert identical(common, before)
            assert rule.scalars()["radius"] < allowed


def falling(start: Blocks, fraction: float) -> Blocks:
    """A proposal `fraction` of the way from `start` to the bowl's minimum."""
    return mapped(lambda w: w + fraction * (1 - w), start)


def test_an_accepted_step_inside_the_radius_is_the_proposal_to_the_last_bit() -> None:
    (common,) = proposals(4, 1)
    proposed = falling(common, 0.5)
    rule = trust_region(100.0).rule()
    assert identical(rule.combine(common, copied(proposed), ALONE), proposed)
    assert rule.scalars() == {"accepted_fraction": 1.0, "radius": 100.0}


def test_a_step_that_reaches_the_radius_and_keeps_its_promise_lets_it_grow() -> None:
    (common,) = proposals(4, 1)
    rule = trust_region(0.1).rule()
    found = rule.combine(copied(common), falling(common, 0.5), ALONE)
    assert float((vector(found) - vector(common)).norm()) == pytest.approx(0.1)
    assert rule.scalars()["radius"] == pytest.approx(0.12)


@pytest.mark.parametrize("fraction", [-0.5, 1.9, 2.1, math.nan, math.inf])
def test_a_step_that_breaks_its_promise_restores_the_common_weights(fraction: float) -> None:
    # The whole way to a quadratic's minimum keeps half of the slope's promise; 1.9 ways keep a twentieth.
    (common,) = proposals(4, 1)
    before = copied(common)
    rule = trust_region(100.0).rule()
    assert identical(rule.combine(common, falling(common, fraction), ALONE), before)
    length = float((vector(falling(before, fraction)) - vector(before)).norm())
    radius = 0.9 * length if math.isfinite(length) else 90.0
    assert rule.scalars() == {"accepted_fraction": 0.0, "radius": pytest.approx(radius)}


def test_repeated_rejection_ends_in_an_accepted_shorter_step() -> None:
    (common,) = proposals(4, 1)
    rule = trust_region(100.0).rule()
    rounds = 0
    while rule.accepted == 0 and rounds < 20:
        common = rule.combine(common, falling(common, 3.0), ALONE)
        rounds += 1
    assert 1 < rounds < 20


def test_a_step_that_promises_to_climb_is_refused_even_where_it_climbs_less_than_promised() -> None:
    ridge = Alone(lambda weights: 1 - (1 - float(vector(weights))) ** 2)
    common: Blocks = [[torch.zeros(1, dtype=torch.float64)]]
    rule = trust_region(100.0).rule()
    assert vector(rule.combine(common, [[torch.full((1,), 1.9, dtype=torch.float64)]], ridge)) == 0
