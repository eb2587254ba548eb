"""The objective `local`: every block has a head of its own, and nothing flows back between blocks."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from torch import Tensor, nn

from layerpar.errors import require, require_at_least, require_choice
from layerpar.objectives import heads
from layerpar.objectives.base import Objective
from layerpar.objectives.block import ACTIVATION, Block, BlockSpec, Messages
from layerpar.objectives.similarity import HeadAndProjection, projection, similarity_loss
from layerpar.partition import costs
from layerpar.partition.costs import LayerSeconds
from layerpar.partition.cuts import BlockCost

HEADS = ("linear", "mlp", "conv")


class LocalBlock(Block):
    """Minimises the cross-entropy of its own head; the last block's head is the network's classifier.

    Args:
        spec: What it is made of.
        microbatches: M.
        head: Kind of auxiliary head.
        overlap: The head comes after copies of so many following layers.
        similarity: β: the loss is (1 - β) · cross-entropy + β · similarity matching.
    """

    def __init__(
        self, spec: BlockSpec, *, microbatches: int, head: str, overlap: int, similarity: float
    ) -> None:
        shape = spec.output_shape
        self._head: nn.Module | None = None
        self._projection: nn.Module | None = None
        if not spec.is_last:
            copied, ends = spec.following[:overlap], overlap >= len(spec.following)
            kind = None if ends else head
            self._head = spec.seeded("head", lambda: heads.after(copied, kind, shape, spec.num_classes))
            if similarity > 0:
                self._projection = spec.seeded("projection", lambda: projection(shape))
        own = [module for module in (self._head, self._projection) if module is not None]
        super().__init__(spec, microbatches, *own)
        self._similarity = similarity
        self._num_classes = spec.num_classes
        self._pending: deque[tuple[Tensor, Tensor]] = deque()

    def forward(self, incoming: Messages, labels: Tensor) -> Messages:
        with self._autocast():
            outputs = self.layers(incoming[ACTIVATION])
        self._pending.append((outputs, labels))
        return {ACTIVATION: outputs.detach()}

    def backward(self, incoming: Messages) -> Messages:
        outputs, labels = self._pending.popleft()
        with self._autocast():
            logits = outputs if self._head is None else self._head(outputs)
            loss = cross_entropy = nn.functional.cross_entropy(logits, labels)
            projected = None if self._projection is None else self._projection(outputs)
        if projected is not None:
            matching = similarity_loss(projected, labels, self._num_classes)
            loss = (1 - self._similarity) * cross_entropy + self._similarity * matching
        self._share(loss).backward()
        self._losses.append(cross_entropy.detach())
        return {}


@dataclass(kw_only=True)
class Local(Objective):
    """Decoupled greedy learning (Belilovsky et al. 2020, arXiv 1901.08164).

    Attributes:
        head: Kind of auxiliary head: `linear`, `mlp` or `conv`; see `layerpar.objectives.heads`.
        overlap: Blocks overlap by so many layers: the head of a block comes after copies of the layers that
            follow it, which start from the network's weights and learn with the block, so that it learns to
            be built upon. The block after owns these layers; the copies are dropped in the end. A block
            closer to the network's end copies all that follow, the classifier included, instead of a head.
        similarity: β in [0, 1): weight of similarity matching (Nøkland & Eidnes 2019, arXiv 1901.06656)
            against cross-entropy in the loss of every block but the last; 0 for none, 0.99 in that paper.
    """

    head: str
    overlap: int
    similarity: float

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("objective.head", self.head, HEADS)
        require_at_least("objective.overlap", self.overlap, 0)
        beta = self.similarity
        require(0 <= beta < 1, f"objective.similarity={beta} is not in [0, 1); try objective.similarity=0")

    def build_head(self, activation_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        head = heads.build(self.head, activation_shape, num_classes)
        return HeadAndProjection(head, projection(activation_shape)) if self.similarity else head

    def trained(self, block: range, num_layers: int) -> range:
        return range(block.start, min(block.stop + self.overlap, num_layers))

    def cost(self, seconds: LayerSeconds, *, exchange: str) -> BlockCost:
        cost = costs.local if exchange == "activations" else costs.local_weights
        return cost(seconds, overlap=self.overlap)

    def block(self, spec: BlockSpec) -> Block:
        return LocalBlock(
            spec,
            microbatches=self.microbatches,
            head=self.head,
            overlap=self.overlap,
            similarity=self.similarity,
        )
