"""The objective `frozen`: the network's true loss over one block's weights, all other blocks held still."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from layerpar.objectives.base import Block, BlockSpec, Objective
from layerpar.partition import costs
from layerpar.partition.costs import LayerSeconds
from layerpar.partition.cuts import BlockCost


class FrozenBlock(Block):
    """Minimises the network's loss, through the layers above as they were at the start of the round."""

    def __init__(self, parts: BlockSpec) -> None:
        super().__init__(parts)
        self._above = nn.Sequential(*parts.above)

    def forward(self, labels: Tensor) -> dict[str, Tensor]:
        with self._span("forward"), self._autocast():
            logits = self._above(self.layers(self.links.source.get()))
            loss = nn.functional.cross_entropy(logits, labels)
        with self._span("backward"):
            loss.backward()
        with self._span("update"):
            self._update()
        return self.classifier_scalars(loss, logits, labels)

    def backward(self) -> dict[str, Tensor]:
        return {}

    def finish(self) -> None:
        pass


@dataclass(kw_only=True)
class Frozen(Objective):
    """Block Jacobi, or additive Schwarz in weight space: the parallel layer-wise algorithm taken literally
    (Sharun & Zykina, PCT 2025). Needs `exchange=weights`; a round is `aggregation.every` steps.

    Running statistics of the frozen layers are not touched: they normalise by the batch, as in training.
    """

    def cannot(self, exchange: str) -> str | None:
        return "every block needs all the other layers" if exchange == "activations" else None

    def cost(self, seconds: LayerSeconds, *, exchange: str) -> BlockCost:
        return costs.frozen(seconds)

    def block(self, parts: BlockSpec) -> Block:
        return FrozenBlock(parts)
