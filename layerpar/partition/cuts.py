"""Where to cut a network into blocks, and which blocks each worker carries out.

A cut is the first layer of a block; the first block, which starts at layer 0, needs none. So K blocks have
K - 1 cuts:

    cuts [2, 5] of 9 layers      0 1 | 2 3 4 | 5 6 7 8
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from layerpar.errors import require

BlockCost = Callable[[int, int], float]
"""Seconds that a block of layers `first` to `last - 1` takes per step, as `cost(first, last)`."""


def equal(num_layers: int, num_blocks: int) -> list[int]:
    """Cuts into blocks of as many layers each; where they cannot be, the later blocks have one more.

    Later, because a network's last layer, its classifier, is mostly its cheapest, and its first layer
    often works at the highest resolution.

        >>> print(picture(equal(9, 2), 9))
        0 1 2 3 | 4 5 6 7 8

    Raises:
        UserError: more blocks than layers.
    """
    _require_enough(num_layers, num_blocks)
    return [num_layers * block // num_blocks for block in range(1, num_blocks)]


def balanced(cost: BlockCost, num_layers: int, num_blocks: int) -> list[int]:
    """Cuts that make the slowest block as fast as possible, exactly, for any cost of a block.

    Of several such partitions the one of the smallest total cost, and of those the one whose blocks are
    shortest from the first on. Costs need not add up over layers (heads, a first layer without gradient
    to its input, a recomputed prefix), so this is dynamic programming over all O(L²) blocks: first the
    bottleneck, then, among blocks within it, the total. Takes O(K L²) additions.

        >>> seconds = [9, 1, 1, 1, 1, 1]
        >>> print(picture(balanced(lambda first, last: sum(seconds[first:last]), 6, 2), 6))
        0 | 1 2 3 4 5

    Raises:
        UserError: more blocks than layers.
    """
    _require_enough(num_layers, num_blocks)
    costs = {
        (first, last): cost(first, last)
        for first in range(num_layers)
        for last in range(first + 1, num_layers + 1)
    }
    bottleneck, _ = _best(costs, num_layers, num_blocks, max)
    within = {block: seconds for block, seconds in costs.items() if seconds <= bottleneck}
    _, cuts = _best(within, num_layers, num_blocks, lambda block, rest: block + rest)
    return cuts


def chosen(
    choice: Any,
    cost: BlockCost,
    num_layers: int,
    num_blocks: int,
    *,
    balance: Callable[[BlockCost, int, int], list[int]] = balanced,
) -> list[int]:
    """The cuts that `mode.partition` asks for.

    Args:
        choice: `balanced`, `equal` or the cuts themselves.
        cost: Seconds of a block.
        num_layers: L.
        num_blocks: K.
        balance: Makes balanced cuts.
    """
    if isinstance(choice, list):
        return choice
    if choice == "equal":
        return equal(num_layers, num_blocks)
    return balance(cost, num_layers, num_blocks)


def _best(
    costs: dict[tuple[int, int], float],
    num_layers: int,
    num_blocks: int,
    join: Callable[[float, float], float],
) -> tuple[float, list[int]]:
    """The partition whose joined cost is least, and that cost; blocks missing from `costs` are forbidden."""
    # best[first] is over partitions of layers `first` to the end into as many blocks as there were rounds.
    best: dict[int, tuple[float, list[int]]] = {
        first: (costs[first, num_layers], []) for first in range(num_layers) if (first, num_layers) in costs
    }
    for _ in range(num_blocks - 1):
        longer: dict[int, tuple[float, list[int]]] = {}
        for first in range(num_layers):
            ways = [
                (join(costs[first, cut], joined), cut)
                for cut, (joined, _) in best.items()
                if (first, cut) in costs
            ]
            if ways:
                joined, cut = min(ways)
                longer[first] = joined, [cut, *best[cut][1]]
        best = longer
    return best[0]


def assign(block_loads: Sequence[float], prefixes: Sequence[float], num_workers: int) -> list[range]:
    """The blocks of each worker: consecutive ones, at least one each, the busiest worker's load least.

        >>> assign([1, 1, 1, 3], [0, 0, 0, 0], 2)
        [range(0, 3), range(3, 4)]

    Args:
        block_loads: Seconds of each block per step, as `predicted_loads` gives them.
        prefixes: See `worker_load`.
        num_workers: W.

    Raises:
        UserError: more workers than blocks.
    """
    num_blocks = len(block_loads)
    require(
        1 <= num_workers <= num_blocks,
        f"workers={num_workers} cannot share {num_blocks} blocks; try workers={num_blocks}",
    )
    cuts = balanced(
        lambda first, last: worker_load(block_loads, prefixes, range(first, last)), num_blocks, num_workers
    )
    return blocks(cuts, num_blocks)


def worker_load(block_loads: Sequence[float], prefixes: Sequence[float], mine: Sequence[int]) -> float:
    """Seconds of a worker per step.

    Args:
        block_loads: Seconds of each block, had it a worker of its own.
        prefixes: How much of that goes into the layers below the block; a worker with several blocks passes
            them once, up to its last block.
        mine: Its blocks, in order.
    """
    return sum(block_loads[index] for index in mine) - sum(prefixes[index] for index in mine[:-1])


def blocks(cuts: Sequence[int], num_layers: int) -> list[range]:
    """The layers of each block.

    >>> blocks([2, 5], 9)
    [range(0, 2), range(2, 5), range(5, 9)]
    """
    return [range(first, last) for first, last in pairwise([0, *cuts, num_layers])]


def predicted_loads(cost: BlockCost, cuts: Sequence[int], num_layers: int) -> list[float]:
    """Seconds of each block per step."""
    return [cost(block.start, block.stop) for block in blocks(cuts, num_layers)]


def check_cuts(cuts: Sequence[int], num_layers: int, num_blocks: int) -> None:
    """Refuse cuts that do not make `num_blocks` blocks of at least one layer each.

    Raises:
        UserError: with equal cuts as the repair.
    """
    _require_enough(num_layers, num_blocks)
    shown = f"mode.partition=[{','.join(str(cut) for cut in cuts)}]"
    repair = f"try mode.partition=[{','.join(str(cut) for cut in equal(num_layers, num_blocks))}]"
    whole = all(isinstance(cut, int) and not isinstance(cut, bool) for cut in cuts)
    require(whole, f"{shown} holds something else than layer numbers; {repair}")
    require(
        len(cuts) == num_blocks - 1,
        f"{shown} makes {len(cuts) + 1} blocks, not mode.blocks={num_blocks}; {repair}",
    )
    rising = all(earlier < later for earlier, later in pairwise([0, *cuts, num_layers]))
    require(rising, f"{shown} does not rise from 1 to at most {num_layers - 1}; {repair}")


def picture(cuts: Sequence[int], num_layers: int) -> str:
    """The layers with a bar at each cut.

    >>> print(picture([2, 5], 9))
    0 1 | 2 3 4 | 5 6 7 8
    """
    return " | ".join(" ".join(map(str, block)) for block in blocks(cuts, num_layers))


def _require_enough(num_layers: int, num_blocks: int) -> None:
    require(
        1 <= num_blocks <= num_layers,
        f"mode.blocks={num_blocks} is not between 1 and the network's {num_layers} layers; "
        f"try mode.blocks={num_layers}",
    )
