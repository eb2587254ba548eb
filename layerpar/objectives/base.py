"""What a block minimises while the others move: the contract of an objective."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from layerpar.errors import require, require_at_least, require_divisor
from layerpar.objectives.block import ACTIVATION, Block, BlockSpec, Message
from layerpar.optimizers import OptimizerConfig
from layerpar.partition.costs import LayerSeconds
from layerpar.partition.cuts import BlockCost


@dataclass(kw_only=True)
class Objective(ABC):
    """What a block minimises while the others move. A new one is a subclass (with its block) in one file,
    and one YAML.

    Attributes:
        name: The choice, as tables show it.
        microbatches: M, equal parts of each batch whose gradients add up to one update.
    """

    name: str
    microbatches: int

    def __post_init__(self) -> None:
        require_at_least("objective.microbatches", self.microbatches, 1)

    @property
    def delay_per_link(self) -> int | None:
        """Micro-batches that a gradient is late, per link between blocks; None where nothing flows back."""
        return None

    def check(self, *, exchange: str, batch_size: int, optimizer: OptimizerConfig, precision: str) -> None:
        """Refuse what cannot work.

        Args:
            exchange: `activations` or `weights`.
            batch_size: Samples of a step on one replica.
            optimizer: The run's.
            precision: The run's.

        Raises:
            UserError: what is wrong, and the override that repairs it.
        """
        reason = self.cannot(exchange)
        require(
            reason is None,
            f"objective={self.name} cannot exchange {exchange}: {reason}; try mode.exchange=auto",
        )
        require_divisor(
            "objective.microbatches", self.microbatches, batch_size, f"a batch of {batch_size} samples"
        )

    def cannot(self, exchange: str) -> str | None:
        """Why this objective cannot do with an exchange; None if it can.

        Only activations have messages of the objective's own beside them.
        """
        own_messages = type(self).messages is not Objective.messages
        return "its messages need activations" if own_messages and exchange == "weights" else None

    def messages(self, activation: Tensor, *, num_classes: int) -> list[Message]:
        """What crosses the boundary after a block, once per micro-batch.

        Args:
            activation: What the block puts out for some blank samples.
            num_classes: Labels of the data set.
        """
        return [Message(ACTIVATION, "down", tuple(activation.shape[1:]), activation.dtype)]

    def build_head(self, activation_shape: tuple[int, ...], num_classes: int) -> nn.Module | None:
        """The auxiliary head of a block that puts out such activations, with new weights; None for none."""
        return None

    def trained(self, block: range, num_layers: int) -> range:
        """The layers that a block trains: its own, and those of which it trains copies."""
        return block

    @abstractmethod
    def cost(self, seconds: LayerSeconds, *, exchange: str) -> BlockCost:
        """What a step of a block costs under an exchange, from the times of its layers."""

    @abstractmethod
    def block(self, spec: BlockSpec) -> Block:
        """A block that minimises this objective."""
