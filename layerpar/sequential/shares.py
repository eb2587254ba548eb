"""How the steps of a run are shared among blocks that are trained one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from layerpar.errors import require


def steps_per_block(total_steps: int, num_blocks: int, shares: Sequence[float] | None) -> list[int]:
    """Whole steps in proportion to `shares`, which add up to all of them.

        >>> steps_per_block(10, 3, None)
        [3, 4, 3]

    Args:
        total_steps: Of the run.
        num_blocks: K.
        shares: One positive number per block; None for equal ones.

    Raises:
        UserError: not one share per block, or a block is left without a step.
    """
    given = [1.0] * num_blocks if shares is None else list(shares)
    equal = ",".join(["1"] * num_blocks)
    require(
        len(given) == num_blocks and min(given) > 0,
        f"mode.shares={given} are not {num_blocks} positive numbers, one for each block; "
        f"try mode.shares=[{equal}]",
    )
    ends = [round(total_steps * done / sum(given)) for done in accumulate(given, initial=0.0)]
    steps = [last - first for first, last in pairwise(ends)]
    require(
        min(steps) >= 1,
        f"sequential: {total_steps} steps leave a block of {num_blocks} without one; "
        f"try mode.shares=null, more epochs, or mode.blocks=1",
    )
    return steps
