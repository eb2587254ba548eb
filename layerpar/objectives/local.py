"""The objective `local`: every block has a head of its own, and nothing flows back between blocks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from layerpar.errors import require, require_choice
from layerpar.objectives import heads
from layerpar.objectives.base import Block, BlockSpec, Objective
from layerpar.objectives.similarity import projection, similarity_loss
from layerpar.partition import costs
from layerpar.partition.costs import LayerSeconds
from layerpar.partition.cuts import BlockCost

HEADS = ("linear", "mlp", "conv")


class LocalBlock(Block):
    """Minimises the cross-entropy of its own head; the last block's head is the network's classifier.

    Args:
        parts: What it is made of.
        head: Kind of auxiliary head.
        similarity: β: the loss is (1 - β) · cross-entropy + β · similarity matching.
    """

    def __init__(self, parts: BlockSpec, *, head: str, similarity: float) -> None:
        shape = parts.output_shape
        self._head: nn.Module | None = None
        self._projection: nn.Module | None = None
        if not parts.is_last:
            self._head = parts.seeded(lambda: heads.build(head, shape, parts.num_classes))
            if similarity > 0:
                self._projection = parts.seeded(lambda: projection(shape))
        own = [module for module in (self._head, self._projection) if module is not None]
        super().__init__(parts, *own)
        self._similarity = similarity
        self._num_classes = parts.num_classes

    def forward(self, labels: Tensor) -> dict[str, Tensor]:
        inputs = self.links.source.get()
        with self._span("forward"), self._autocast():
            outputs = self.layers(inputs)
        if self.links.sink is not None:
            self.links.sink.put(outputs.detach())
        with self._span("forward"), self._autocast():
            logits = outputs if self._head is None else self._head(outputs)
            loss = cross_entropy = nn.functional.cross_entropy(logits, labels)
            if self._projection is not None:
                matching = similarity_loss(self._projection(outputs), labels, self._num_classes)
                loss = (1 - self._similarity) * cross_entropy + self._similarity * matching
        with self._span("backward"):
            loss.backward()
        with self._span("update"):
            self._update()
        return self.classifier_scalars(cross_entropy, logits, labels)

    def backward(self) -> dict[str, Tensor]:
        return {}

    def finish(self) -> None:
        pass


@dataclass(kw_only=True)
class Local(Objective):
    """Decoupled greedy learning (Belilovsky et al. 2020, arXiv 1901.08164).

    Attributes:
        head: Kind of auxiliary head: `linear`, `mlp` or `conv`; see `layerpar.objectives.heads`.
        similarity: β in [0, 1): weight of similarity matching (Nøkland & Eidnes 2019, arXiv 1901.06656)
            against cross-entropy in the loss of every block but the last; 0 for none, 0.99 in that paper.
    """

    head: str
    similarity: float

    def __post_init__(self) -> None:
        require_choice("objective.head", self.head, HEADS)
        beta = self.similarity
        require(0 <= beta < 1, f"objective.similarity={beta} is not in [0, 1); try objective.similarity=0")

    @property
    def head_kind(self) -> str | None:
        return self.head

    def cost(self, seconds: LayerSeconds, *, exchange: str) -> BlockCost:
        return costs.local(seconds) if exchange == "activations" else costs.local_weights(seconds)

    def block(self, parts: BlockSpec) -> Block:
        return LocalBlock(parts, head=self.head, similarity=self.similarity)
