"""An objective of a user's own, with a message of its own: blocks agree with the guess of the one below."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from torch import Tensor, nn

from layerpar.objectives import heads
from layerpar.objectives.base import Objective
from layerpar.objectives.block import ACTIVATION, Block, BlockSpec, Message, Messages
from layerpar.partition import costs
from layerpar.partition.costs import LayerSeconds
from layerpar.partition.cuts import BlockCost

TARGET = "target"
"""The message that goes down beside the activation: the block's logits, for the next block to come near."""


class AgreeingBlock(Block):
    """Minimises the cross-entropy of its head, and the distance of its logits from the block below's."""

    def __init__(self, spec: BlockSpec, options: Agreeing) -> None:
        self._head: nn.Module = nn.Identity()
        if not spec.is_last:
            self._head = spec.seeded(
                "head", lambda: heads.build("linear", spec.output_shape, spec.num_classes)
            )
        super().__init__(spec, options.microbatches, self._head)
        self._weight = options.weight
        self._pending: deque[Tensor] = deque()

    def forward(self, incoming: Messages, labels: Tensor) -> Messages:
        with self._autocast():
            outputs = self.layers(incoming[ACTIVATION])
            logits = self._head(outputs)
            loss = nn.functional.cross_entropy(logits, labels)
            if TARGET in incoming:
                loss = loss + self._weight * nn.functional.mse_loss(logits, incoming[TARGET])
        self._pending.append(loss)
        return {ACTIVATION: outputs.detach(), TARGET: logits.detach()}

    def backward(self, incoming: Messages) -> Messages:
        loss = self._pending.popleft()
        self._share(loss).backward()
        self._losses.append(loss.detach())
        return {}


@dataclass(kw_only=True)
class Agreeing(Objective):
    """Each block has a head, and its guess is the target of the next one's.

    Attributes:
        weight: Of the squared distance between a block's logits and its target.
    """

    weight: float

    def messages(self, activation: Tensor, *, num_classes: int) -> list[Message]:
        below = super().messages(activation, num_classes=num_classes)
        return [*below, Message(TARGET, "down", (num_classes,), activation.dtype)]

    def build_head(self, activation_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        return heads.build("linear", activation_shape, num_classes)

    def cost(self, seconds: LayerSeconds, *, exchange: str) -> BlockCost:
        return costs.local(seconds)

    def block(self, spec: BlockSpec) -> Block:
        return AgreeingBlock(spec, self)
