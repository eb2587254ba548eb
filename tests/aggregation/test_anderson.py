"""Mixing rounds so that their steps cancel."""

import math

import pytest
import torch
from course import (
    ALONE,
    SEEDS,
    anderson,
    course,
    damped,
    identical,
    proposals,
    vector,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from layerpar.aggregation import Blocks
from layerpar.aggregation.anderson import mixing_weights


@given(SEEDS, st.floats(0.01, 1.0), st.booleans())
def test_anderson_without_memory_is_damped_to_the_last_bit(seed: int, alpha: float, joint: bool) -> None:
    start, *steps = proposals(seed, 4)
    expected = course(damped(alpha), steps, start=start)
    assert identical(course(anderson(0, alpha=alpha, joint=joint), steps, start=start)[-1], expected[-1])


@pytest.mark.parametrize("unknowns", [1, 2, 4])
@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_anderson_solves_a_linear_problem_of_m_unknowns_in_one_round_more(
    unknowns: int, alpha: float
) -> None:
    generator = torch.Generator().manual_seed(5)
    matrix = torch.randn(unknowns, unknowns, generator=generator, dtype=torch.float64)
    matrix *= 0.9 / torch.linalg.matrix_norm(matrix, 2)
    offset = torch.randn(unknowns, generator=generator, dtype=torch.float64)
    solution = torch.linalg.solve(torch.eye(unknowns, dtype=torch.float64) - matrix, offset)
    rule = anderson(unknowns, alpha=alpha, regularisation=0.0).rule()
    common: Blocks = [[torch.zeros(unknowns, dtype=torch.float64)]]
    for _ in range(unknowns + 1):
        common = rule.combine(common, [[matrix @ common[0][0] + offset]], ALONE)
    torch.testing.assert_close(common[0][0], solution, rtol=1e-5, atol=1e-6)


def test_anderson_per_block_solves_blocks_that_do_not_touch_each_other_where_joint_weights_cannot() -> None:
    def after_two_rounds(joint: bool) -> Tensor:
        rule = anderson(1, joint=joint).rule()
        common: Blocks = [[torch.ones(1, dtype=torch.float64)], [torch.ones(1, dtype=torch.float64)]]
        for _ in range(2):
            common = rule.combine(common, [[0.9 * common[0][0]], [-0.5 * common[1][0]]], ALONE)
        return vector(common).abs().max()

    assert after_two_rounds(joint=False) < 1e-6
    assert after_two_rounds(joint=True) > 0.1


@given(SEEDS, st.integers(1, 4), st.sampled_from([1e-6, 1e-2, 1.0]))
def test_mixing_weights_minimise_the_penalised_joint_step(seed: int, rounds: int, penalty: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    deltas = torch.randn(rounds, 6, generator=generator, dtype=torch.float64)
    gram = deltas @ deltas.T
    (found,) = mixing_weights(gram[None], penalty)

    def worth(weights: Tensor) -> float:
        return float(weights @ gram @ weights + penalty * (weights.square() * gram.diagonal()).sum())

    assert float(found.sum()) == pytest.approx(1)
    for other in torch.randn(10, rounds, generator=generator, dtype=torch.float64):
        direction = other - other.mean()  # keeps the sum
        assert worth(found) <= worth(found + 0.1 * direction) + 1e-9


@given(SEEDS, st.integers(2, 4))
def test_mixing_weights_follow_the_order_of_rounds_and_ignore_the_scale_of_steps(
    seed: int, rounds: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    deltas = torch.randn(rounds, 6, generator=generator, dtype=torch.float64)
    gram, order = deltas @ deltas.T, torch.randperm(rounds, generator=generator)
    (weights,) = mixing_weights(gram[None], 1e-2)
    torch.testing.assert_close(mixing_weights(1e-12 * gram[None], 1e-2)[0], weights)
    torch.testing.assert_close(mixing_weights(gram[order][:, order][None], 1e-2)[0], weights[order])


@pytest.mark.parametrize(
    "gram", [[[1.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]], [[1.0, math.nan], [math.nan] * 2]]
)
def test_the_newest_round_counts_alone_where_mixing_has_no_answer(gram: list[list[float]]) -> None:
    (weights,) = mixing_weights(torch.tensor([gram], dtype=torch.float64), 0.0)
    assert weights.tolist() == [0.0, 1.0]


def test_anderson_reports_its_mixing_weights_newest_first_and_forgets_the_oldest_round() -> None:
    start, *steps = proposals(6, 5)
    rule = anderson(2).rule()
    course(anderson(2), steps, start=start, rule=rule)
    scalars = rule.scalars()
    assert list(scalars) == ["mixing/0", "mixing/1", "mixing/2"]
    assert sum(scalars.values()) == pytest.approx(1)


def test_only_the_last_rounds_are_mixed_written_out() -> None:
    start, *steps = proposals(6, 7)
    path = [start, *course(anderson(2, alpha=0.5), steps, start=start)]
    for latest in range(2, 6):
        rounds = range(latest - 2, latest + 1)
        deltas = torch.stack([vector(steps[i]) for i in rounds])
        points = torch.stack([vector(path[i]) + 0.5 * vector(steps[i]) for i in rounds])
        weights = mixing_weights((deltas @ deltas.T)[None], 1e-12)[0]
        torch.testing.assert_close(vector(path[latest + 1]), weights @ points)
