"""The cut that a prediction takes: training's own, or for long networks one as good at its slowest block."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from layerpar.partition import cuts as partition
from layerpar.partition.cuts import BlockCost

EXACT = 300_000
"""Additions of dynamic programming, K L², up to which it is used; more would take seconds."""
HALVINGS = 30


def chosen(choice: Any, cost: BlockCost, num_layers: int, num_blocks: int) -> list[int]:
    """The cuts that `mode.partition` asks for; see `partition.chosen`."""
    return partition.chosen(choice, cost, num_layers, num_blocks, balance=balanced)


def balanced(cost: BlockCost, num_layers: int, num_blocks: int) -> list[int]:
    """Cuts that make the slowest block as fast as possible.

    Beyond `EXACT` by halving an interval: the least time within which blocks, each as long as the time
    allows, are few enough. That is the optimum where a part of a block costs no more than the block.

    Args:
        cost: Seconds of a block.
        num_layers: L.
        num_blocks: K, at most L.
    """
    if num_blocks * num_layers**2 <= EXACT:
        return partition.balanced(cost, num_layers, num_blocks)
    single = [cost(layer, layer + 1) for layer in range(num_layers)]
    low, high = 0.0, max(cost(0, num_layers), *single)
    best = list(range(num_layers - num_blocks + 1, num_layers))
    if num_blocks == num_layers:
        return best
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        cuts = _greedy(cost, num_layers, num_blocks, middle)
        if cuts is None:
            low = middle
        else:
            best, high = cuts, middle
    return best


def assign(loads: list[float], prefixes: list[float], num_workers: int) -> list[range]:
    """The blocks of each worker, as `partition.assign` has them."""
    if len(loads) == num_workers:
        return [range(block, block + 1) for block in range(num_workers)]
    loads_below = list(accumulate(loads, initial=0.0))
    prefixes_below = list(accumulate(prefixes, initial=0.0))

    def load(first: int, last: int) -> float:
        once = prefixes_below[last - 1] - prefixes_below[first]
        return loads_below[last] - loads_below[first] - once

    cuts = balanced(load, len(loads), num_workers)
    return partition.blocks(cuts, len(loads))


def _greedy(cost: BlockCost, num_layers: int, num_blocks: int, limit: float) -> list[int] | None:
    """Cuts into exactly K blocks within the limit, None if this does not find any."""
    cuts: list[int] = []
    first = 0
    for left in range(num_blocks - 1, -1, -1):
        most = num_layers - left  # a layer at least for each block to come
        last = _farthest(cost, first, most, limit)
        if last == first:
            return None
        cuts.append(last)
        first = last
    return cuts[:-1] if first == num_layers else None


def _farthest(cost: BlockCost, first: int, most: int, limit: float) -> int:
    """Where the longest block from a layer on ends that is within the limit; where it starts, if none is."""
    good, step = first, 1
    while good < most and step:
        if good + step <= most and cost(first, good + step) <= limit:
            good += step
            step *= 2
        else:
            step //= 2
    return good
