"""The cut that predictions take, against training's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerpar.partition import cuts as partition
from layerpar.predict import cut


@given(
    seconds=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=14),
    share=st.floats(0.0, 1.0),
    recomputed=st.floats(0.0, 1.0),
)
def test_halving_finds_a_bottleneck_as_small_as_dynamic_programming_does(
    seconds: list[float], share: float, recomputed: float
) -> None:
    num_layers = len(seconds)
    num_blocks = 1 + round(share * (num_layers - 1))

    def cost(first: int, last: int) -> float:
        return sum(seconds[first:last]) + recomputed * sum(seconds[:first])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cut, "EXACT", 0)
        found = cut.balanced(cost, num_layers, num_blocks)
    partition.check_cuts(found, num_layers, num_blocks)
    best = partition.balanced(cost, num_layers, num_blocks)
    slowest = [max(partition.predicted_loads(cost, cuts, num_layers)) for cuts in (found, best)]
    assert slowest[0] == pytest.approx(slowest[1], rel=1e-6)


def test_small_networks_are_cut_as_training_cuts_them() -> None:
    seconds = [9.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert cut.balanced(lambda first, last: sum(seconds[first:last]), 6, 2) == [1]


def test_a_thousand_layers() -> None:
    below = [float(layer) for layer in range(1001)]
    for num_blocks in (1, 2, 10, 500, 999, 1000):
        cuts = cut.balanced(lambda first, last: below[last] - below[first], 1000, num_blocks)
        partition.check_cuts(cuts, 1000, num_blocks)
        loads = [part.stop - part.start for part in partition.blocks(cuts, 1000)]
        assert max(loads) == -(-1000 // num_blocks)


@pytest.mark.parametrize("prefixes", [[0.0, 0.0, 0.0, 0.0], [0.0, 0.5, 0.5, 2.0]])
def test_blocks_are_assigned_as_training_assigns_them(prefixes: list[float]) -> None:
    loads = [1.0, 1.0, 1.0, 3.0]
    for workers in (2, 3, 4):
        assert cut.assign(loads, prefixes, workers) == partition.assign(loads, prefixes, workers)
