"""The objective `frozen`: the network's true loss over one block's weights, all other blocks held still."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from torch import Tensor, nn

from layerpar.objectives.base import Objective
from layerpar.objectives.block import ACTIVATION, Block, BlockSpec, Messages
from layerpar.partition import costs
from layerpar.partition.costs import LayerSeconds
from layerpar.partition.cuts import BlockCost


class FrozenBlock(Block):
    """Minimises the network's loss, through the layers above as they were at the start of the round."""

    def __init__(self, spec: BlockSpec, *, microbatches: int) -> None:
        super().__init__(spec, microbatches)
        self._above = nn.Sequential(*spec.above)
        self._pending: deque[Tensor] = deque()

    def forward(self, incoming: Messages, labels: Tensor) -> Messages:
        with self._autocast():
            loss = nn.functional.cross_entropy(self._above(self.layers(incoming[ACTIVATION])), labels)
        self._pending.append(loss)
        return {}

    def backward(self, incoming: Messages) -> Messages:
        loss = self._pending.popleft()
        self._share(loss).backward()
        self._losses.append(loss.detach())
        return {}


@dataclass(kw_only=True)
class Frozen(Objective):
    """Block Jacobi, or additive Schwarz in weight space: the parallel layer-wise algorithm taken literally
    (Sharun & Zykina, PCT 2025). Exchanges weights; a round is `aggregation.every` steps.

    Frozen layers normalise by the batch, as in training; their running statistics are those of their owners.
    """

    def cannot(self, exchange: str) -> str | None:
        return "every block needs all the other layers" if exchange == "activations" else None

    def cost(self, seconds: LayerSeconds, *, exchange: str) -> BlockCost:
        return costs.frozen(seconds)

    def block(self, spec: BlockSpec) -> Block:
        return FrozenBlock(spec, microbatches=self.microbatches)
