"""Costs of a block under each objective, against the costs and speed-ups worked out by hand."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import composed

from layerpar.partition import costs
from layerpar.partition.cuts import BlockCost, balanced, predicted_loads


@dataclass(frozen=True)
class Times:
    forward: list[float]
    backward_input: list[float]
    backward_weights: list[float]
    update: list[float]
    head: list[float]
    copy: list[float]


# Powers of ten by term and digits by layer: a cost reads as "which layers pay which term".
DIGITS = Times(
    forward=[1, 2, 4, 8],
    backward_input=[100, 200, 400, 800],
    backward_weights=[10_000, 20_000, 40_000, 80_000],
    update=[1_000_000, 2_000_000, 4_000_000, 8_000_000],
    head=[100_000_000, 200_000_000, 400_000_000, 800_000_000],
    copy=[10_000_000_000, 20_000_000_000, 40_000_000_000, 80_000_000_000],
)


def even(num_layers: int) -> Times:
    """The cost unit of one per layer for F, Bx and Bw; updates, heads and copies are free."""
    one, free = [1.0] * num_layers, [0.0] * num_layers
    return Times(one, one, one, free, free, free)


@pytest.mark.parametrize(
    ("cost", "first", "middle", "last"),
    [
        # layers 0-1 of 4, layers 1-2 of 4, layers 2-3 of 4; digits: C H U Bw Bx F
        (costs.local(DIGITS), 2_03_03_02_03, 4_06_06_04_06, 12_12_08_12),
        (costs.local(DIGITS, overlap=1), 4_07_07_06_07, 14_14_12_14, 12_12_08_12),
        (costs.local_weights(DIGITS), 2_03_03_02_03, 4_06_06_04_07, 12_12_08_15),
        (costs.delayed(DIGITS, recompute=False, stash=False), 3_03_02_03, 6_06_06_06, 12_12_12_12),
        (costs.delayed(DIGITS, recompute=True, stash=False), 3_03_02_06, 6_06_06_12, 12_12_12_12),
        (costs.delayed(DIGITS, recompute=False, stash=True), 3_00_03_03_02_03, 6_00_06_06_06_06, 12_12_12_12),
        (costs.frozen(DIGITS), 3_03_14_15, 6_06_12_15, 12_12_08_15),
    ],
    ids=[
        "local",
        "local overlapping",
        "local weights",
        "delayed",
        "delayed recompute",
        "delayed stash",
        "frozen",
    ],
)
def test_a_block_pays_for(cost: BlockCost, first: int, middle: int, last: int) -> None:
    assert [cost(0, 2), cost(1, 3), cost(2, 4)] == [first, middle, last]


@pytest.mark.parametrize("num_layers", [2, 7])
def test_one_block_costs_what_serial_training_costs_under_every_objective(num_layers: int) -> None:
    times = even(num_layers)
    serial = 3 * num_layers - 1  # the input layer has no gradient to its input
    for cost in (
        costs.local(times),
        costs.local_weights(times),
        costs.delayed(times, recompute=True, stash=False),
        costs.delayed(times, recompute=False, stash=True),
        costs.frozen(times),
    ):
        assert cost(0, num_layers) == serial


@pytest.mark.parametrize(("num_blocks", "speedup"), [(2, 1.21), (4, 1.35)])
def test_frozen_speeds_a_step_up_by_the_published_bound(num_blocks: int, speedup: float) -> None:
    num_layers = 48
    cost = costs.frozen(even(num_layers))
    slowest = max(
        predicted_loads(cost, [num_layers * k // num_blocks for k in range(1, num_blocks)], num_layers)
    )
    assert slowest == 2 * num_layers + num_layers // num_blocks - 1
    assert 3 * num_layers / slowest == pytest.approx(speedup, abs=0.01)


def test_exchanging_weights_gives_the_lower_of_two_local_blocks_sixty_percent_of_the_layers() -> None:
    cost = costs.local_weights(even(100))
    assert balanced(cost, 100, 2) == [60]
    assert 300 / max(predicted_loads(cost, [60], 100)) == pytest.approx(1.67, abs=0.01)


def test_a_cut_moves_to_where_its_head_is_cheap() -> None:
    times = even(6)
    dear = Times(
        times.forward,
        times.backward_input,
        times.backward_weights,
        times.update,
        head=[9, 0, 9, 9, 9, 0],
        copy=times.copy,
    )
    assert balanced(costs.local(dear), 6, 2) == [2]


@given(
    st.lists(st.lists(st.integers(0, 50), min_size=6, max_size=6), min_size=1, max_size=8),
    st.integers(1, 20),
    st.data(),
)
def test_costs_grow_with_the_clock(layers: list[list[int]], factor: int, data: st.DataObject) -> None:
    columns = [list(column) for column in zip(*layers, strict=True)]
    first = data.draw(st.integers(0, len(layers) - 1))
    last = data.draw(st.integers(first + 1, len(layers)))
    times = Times(*columns)
    slower = Times(*[[factor * value for value in column] for column in columns])
    for build in (costs.local, costs.local_weights, costs.frozen):
        assert build(slower)(first, last) == factor * build(times)(first, last)


@pytest.mark.parametrize(
    ("option", "beside"), [("recompute", "objective.stash=false"), ("stash", "objective.recompute=false")]
)
def test_exact_gradients_need_neither_second_forwards_nor_old_weights(option: str, beside: str) -> None:
    def cost(link_delay: int, value: str) -> float:
        overrides = (f"objective.link_delay={link_delay}", f"objective.{option}={value}", beside)
        objective = composed("objective=delayed", *overrides).objective
        return objective.cost(DIGITS, exchange="activations")(0, 2)

    assert cost(0, "true") == cost(0, "false")
    assert cost(1, "true") > cost(1, "false")
