"""Cuts cover every layer once, in order; the balanced cut is optimal for any cost of a block."""

import doctest
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerpar.errors import UserError
from layerpar.partition import cuts as partition
from layerpar.partition.cuts import (
    assign,
    balanced,
    blocks,
    check_cuts,
    equal,
    picture,
    predicted_loads,
    worker_load,
)

SIZES = st.integers(1, 12).flatmap(lambda layers: st.tuples(st.just(layers), st.integers(1, layers)))


def all_partitions(num_layers: int, num_blocks: int) -> list[list[int]]:
    return [list(cuts) for cuts in combinations(range(1, num_layers), num_blocks - 1)]


@st.composite
def costs_of_all_blocks(draw: st.DrawFn) -> tuple[int, int, dict[tuple[int, int], int]]:
    """Any cost for each block: nothing needs to add up or to grow with the block."""
    num_layers = draw(st.integers(1, 7))
    num_blocks = draw(st.integers(1, num_layers))
    every = list(combinations(range(num_layers + 1), 2))
    seconds = draw(st.lists(st.integers(0, 6), min_size=len(every), max_size=len(every)))
    return num_layers, num_blocks, dict(zip(every, seconds, strict=True))


def test_the_pictures_of_the_docstrings_are_true() -> None:
    failed, tried = doctest.testmod(partition)
    assert (failed, tried > 0) == (0, True)


@pytest.mark.parametrize(
    ("num_layers", "num_blocks", "drawn"),
    [
        (9, 1, "0 1 2 3 4 5 6 7 8"),
        (9, 2, "0 1 2 3 | 4 5 6 7 8"),
        (9, 3, "0 1 2 | 3 4 5 | 6 7 8"),
        (7, 4, "0 | 1 2 | 3 4 | 5 6"),
        (3, 3, "0 | 1 | 2"),
    ],
)
def test_equal_cuts_look_like(num_layers: int, num_blocks: int, drawn: str) -> None:
    assert picture(equal(num_layers, num_blocks), num_layers) == drawn


@given(SIZES)
def test_equal_blocks_differ_by_one_layer_at_most(size: tuple[int, int]) -> None:
    num_layers, num_blocks = size
    lengths = [len(block) for block in blocks(equal(num_layers, num_blocks), num_layers)]
    assert len(lengths) == num_blocks
    assert max(lengths) - min(lengths) <= 1
    assert lengths[-1] == max(lengths)


@given(SIZES)
def test_equal_cuts_pass_the_check_of_explicit_cuts(size: tuple[int, int]) -> None:
    num_layers, num_blocks = size
    check_cuts(equal(num_layers, num_blocks), num_layers, num_blocks)


@given(SIZES, st.data())
def test_blocks_cover_every_layer_once_in_order(size: tuple[int, int], data: st.DataObject) -> None:
    num_layers, num_blocks = size
    cuts = data.draw(st.sampled_from(all_partitions(num_layers, num_blocks)))
    parts = blocks(cuts, num_layers)
    assert [layer for block in parts for layer in block] == list(range(num_layers))
    assert [block.start for block in parts[1:]] == cuts


@given(costs_of_all_blocks())
def test_balanced_is_the_best_of_all_partitions(case: tuple[int, int, dict[tuple[int, int], int]]) -> None:
    num_layers, num_blocks, table = case

    def worth(cuts: list[int]) -> tuple[float, float, list[int]]:
        loads = predicted_loads(lambda first, last: table[first, last], cuts, num_layers)
        return max(loads), sum(loads), cuts

    found = balanced(lambda first, last: table[first, last], num_layers, num_blocks)
    assert found == min(all_partitions(num_layers, num_blocks), key=worth)


def test_balanced_weighs_a_cheaper_cut_against_the_layers() -> None:
    # A head after layer 0 costs nothing, one elsewhere as much as three layers.
    def cost(first: int, last: int) -> float:
        return (last - first) + (3 if last in (2, 3) else 0)

    assert picture(balanced(cost, 4, 2), 4) == "0 | 1 2 3"


def test_balanced_of_many_layers_is_quick_enough_to_run_at_every_start() -> None:
    cuts = balanced(lambda first, last: float(last - first), 100, 4)
    assert cuts == [25, 50, 75]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.data())
def test_assign_gives_consecutive_blocks_and_the_least_possible_bottleneck(
    loads: list[int], data: st.DataObject
) -> None:
    num_workers = data.draw(st.integers(1, len(loads)))
    owned = assign(loads, [0] * len(loads), num_workers)
    assert [block for worker in owned for block in worker] == list(range(len(loads)))
    assert len(owned) == num_workers
    assert all(len(worker) > 0 for worker in owned)
    busiest = min(
        max(sum(loads[part.start : part.stop]) for part in blocks(cuts, len(loads)))
        for cuts in all_partitions(len(loads), num_workers)
    )
    assert max(sum(loads[block] for block in worker) for worker in owned) == busiest


@pytest.mark.parametrize(
    ("cuts", "reason"),
    [
        ([], "makes 1 blocks"),
        ([3, 6], "makes 3 blocks"),
        ([0], "does not rise"),
        ([9], "does not rise"),
        ([-2], "does not rise"),
        ([2.5], "something else than layer numbers"),
        ([True], "something else than layer numbers"),
    ],
)
def test_wrong_cuts_are_refused_with_equal_ones_as_the_repair(cuts: list[int], reason: str) -> None:
    with pytest.raises(UserError, match=rf"^mode\.partition=.*{reason}.*try mode\.partition=\[4\]$"):
        check_cuts(cuts, num_layers=9, num_blocks=2)


def test_cuts_that_fall_are_refused() -> None:
    with pytest.raises(UserError, match=r"mode\.partition=\[6,3\] does not rise"):
        check_cuts([6, 3], num_layers=9, num_blocks=3)


@pytest.mark.parametrize("num_blocks", [0, 10])
def test_more_blocks_than_layers_are_refused(num_blocks: int) -> None:
    for cut in (lambda: equal(9, num_blocks), lambda: balanced(lambda first, last: 1.0, 9, num_blocks)):
        with pytest.raises(UserError, match=r"try mode\.blocks=9$"):
            cut()


def test_more_workers_than_blocks_are_refused() -> None:
    with pytest.raises(UserError, match=r"try workers=2$"):
        assign([1.0, 1.0], [0.0, 0.0], 3)


def test_what_lies_below_a_workers_blocks_is_computed_once() -> None:
    """Nine layers of F = Bx = Bw = 1, each a block of `frozen`: k below block k, 2 in it, 2 (8 - k) above."""
    prefixes = [float(block) for block in range(9)]
    loads = [block + 2 + 2 * (8.0 - block) for block in range(9)]
    assert worker_load(loads, prefixes, [2, 3, 4]) == sum(loads[2:5]) - 2 - 3
    owned = assign(loads, prefixes, 2)
    assert owned == [range(0, 3), range(3, 9)]
    assert [worker_load(loads, prefixes, mine) for mine in owned] == [50, 50]
