"""What a block minimises while the other blocks move (the layerwise choice `objective`)."""

from __future__ import annotations

from dataclasses import dataclass

from layerpar.errors import require_choice
from layerpar.layerwise import costs
from layerpar.layerwise.costs import LayerSeconds
from layerpar.layerwise.partition import BlockCost

HEADS = ("linear", "mlp", "conv")


@dataclass(kw_only=True)
class Objective:
    """What each block minimises.

    Attributes:
        name: The choice, as tables show it.
    """

    name: str

    def cost(self, seconds: LayerSeconds) -> BlockCost:
        """What a step of a block costs, from the times of its layers."""
        raise NotImplementedError


@dataclass(kw_only=True)
class Local(Objective):
    """Decoupled greedy learning (Belilovsky et al. 2020, arXiv 1901.08164): each block has an auxiliary head
    and minimises its own cross-entropy; nothing flows back between blocks.

    Attributes:
        head: `linear`, `mlp` or `conv`; the last block's head is the network's own classifier.
    """

    head: str

    def __post_init__(self) -> None:
        require_choice("objective.head", self.head, HEADS)

    def cost(self, seconds: LayerSeconds) -> BlockCost:
        return costs.local(seconds)
