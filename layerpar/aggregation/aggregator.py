"""Aggregator: every H steps the aggregation rule turns the blocks' proposals into the next common weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from layerpar.aggregation import Aggregation, Blocks, Group

OF_RULES = "aggregation/"
"""How the names begin of what rules tell of themselves."""


class Trained(Protocol):
    """A block, or a whole network, whose weights a rule may replace."""

    def weights(self) -> list[Tensor]:
        """The live trained weights."""
        ...

    def set_weights(self, weights: list[Tensor]) -> None:
        """Go on from copies of these, in the order of `weights`."""
        ...


class Aggregator:
    """Counts a worker's steps and aggregates its blocks at the end of each round.

    Args:
        aggregation: The rule and the length of a round.
        blocks: This worker's blocks.
        group: The other owners.
    """

    def __init__(self, aggregation: Aggregation, blocks: Sequence[Trained], group: Group) -> None:
        self._every = aggregation.every
        self._rule = aggregation.rule()
        self._blocks = blocks
        self._group = group
        self._steps = 0
        self._common = self._copied() if self._rule.needs_common else None

    def step(self) -> dict[str, Tensor]:
        """A step is done; if it was the last of a round, aggregate. Collective.

        Returns:
            What the rule tells of itself after a round, to log.
        """
        self._steps += 1
        return self.close() if self.at_border else {}

    @property
    def at_border(self) -> bool:
        """Whether the last step was the last of a round."""
        return self._steps % self._every == 0

    def close(self) -> dict[str, Tensor]:
        """Aggregate now; the next step begins a round. Collective. Returns scalars to log."""
        self._steps = 0
        proposed = self._live()
        common = proposed if self._common is None else self._common
        combined = self._rule.combine(common, proposed, self._group)
        if self._common is not None and combined is not self._common:
            for mine, new in zip(self._common, combined, strict=True):
                torch._foreach_copy_(mine, new)
        if combined is not proposed:
            for block, weights in zip(self._blocks, combined, strict=True):
                block.set_weights(weights)
        return {f"{OF_RULES}{name}": torch.tensor(value) for name, value in self._rule.scalars().items()}

    @contextmanager
    def exported(self) -> Iterator[None]:
        """Within, the blocks hold the weights to evaluate and to export."""
        live = self._live()
        shown = self._rule.exported(live)
        if shown is live:
            yield
            return
        kept = self._copied()
        for block, weights in zip(self._blocks, shown, strict=True):
            block.set_weights(weights)
        yield
        for block, weights in zip(self._blocks, kept, strict=True):
            block.set_weights(weights)

    def state_dict(self) -> dict[str, Any]:
        """A copy of what rounds remember, between two of them: the blocks then hold the common weights."""
        assert self._steps == 0
        return {"rule": self._rule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`, once the blocks hold the weights of then."""
        self._steps = 0
        self._rule.load_state_dict(state["rule"])
        self._common = self._copied() if self._rule.needs_common else None

    def _live(self) -> Blocks:
        return [block.weights() for block in self._blocks]

    def _copied(self) -> Blocks:
        return [[weight.clone() for weight in block] for block in self._live()]
