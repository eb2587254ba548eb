"""One block: consecutive layers that are trained as a problem of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from layerpar.measure.stopwatch import Stopwatch
from layerpar.optimizers import OptimizerConfig, OptimizerState
from layerpar.partition.costs import LayerSeconds
from layerpar.partition.cuts import BlockCost
from layerpar.transport.links import Sink, Source
from layerpar.transport.replica_group import ReplicaGroup


@dataclass(frozen=True)
class Links:
    """What joins a block to its neighbours; None where there is no neighbour, or nothing flows back.

    Attributes:
        source: Gives activations of the block before (images, to the first block).
        sink: Takes activations for the block after.
        gradient_source: Gives gradients of the block after.
        gradient_sink: Takes gradients for the block before.
    """

    source: Source
    sink: Sink | None
    gradient_source: Source | None = None
    gradient_sink: Sink | None = None


@dataclass(frozen=True)
class BlockSpec:
    """What a block is made of.

    Attributes:
        index: Which block of the network, from 0.
        num_blocks: K.
        layers: Its layers, in order.
        output_shape: Of what the block puts out, without the batch.
        num_classes: Labels of the data set.
        seeded: Builds a module of the block's own with weights that depend on seed and block only.
        links: To its neighbours.
        optimizer: Makes this block's own optimizer.
        total_steps: Steps of the whole run, for the schedule.
        first_step: How many of them are done when the block starts.
        autocast: The precision in which forwards run.
        stopwatch: Where the timeline is recorded.
        gradient_peers: With whom to average gradients before each update; None for nobody.
        above: The network's layers after this block, as at the start of the round, where a worker holds them.
    """

    index: int
    num_blocks: int
    layers: Sequence[nn.Module]
    output_shape: tuple[int, ...]
    num_classes: int
    seeded: Callable[[Callable[[], nn.Module]], nn.Module]
    links: Links
    optimizer: OptimizerConfig
    total_steps: int
    autocast: Callable[[], AbstractContextManager[Any]]
    stopwatch: Stopwatch
    gradient_peers: ReplicaGroup | None = None
    above: Sequence[nn.Module] = ()
    first_step: int = 0

    @property
    def is_last(self) -> bool:
        """Whether the block ends in the network's own classifier."""
        return self.index == self.num_blocks - 1


class Block(ABC):
    """Layers with their own optimizer, trained while batches stream through.

    For each batch the worker calls `forward` on its blocks in order, then `backward` in reverse order.

    Args:
        parts: What it is made of.
        extra: Modules of its own that are trained with it, such as a head.
    """

    def __init__(self, parts: BlockSpec, *extra: nn.Module) -> None:
        self.index = parts.index
        self.layers = nn.Sequential(*parts.layers)
        self.links = parts.links
        self._modules = nn.ModuleList([self.layers, *extra])
        self._parameters = list(self._modules.parameters())
        self._updater = parts.optimizer.updater(
            self._parameters, parts.total_steps, first_step=parts.first_step
        )
        self._gradient_peers = parts.gradient_peers
        self._autocast = parts.autocast
        self._span = partial(parts.stopwatch.span, block=parts.index)

    @abstractmethod
    def forward(self, labels: Tensor) -> dict[str, Tensor]:
        """Take one batch from the source, hand its activations on; returns scalars to log by name."""

    @abstractmethod
    def backward(self) -> dict[str, Tensor]:
        """Learn from what has come back by now, if the objective has anything come back; returns scalars."""

    @abstractmethod
    def finish(self) -> None:
        """Learn from every batch that is still on its way."""

    def classifier_scalars(self, loss: Tensor, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss and accuracy of a classifier at the end of this block."""
        accuracy = (logits.detach().argmax(1) == labels).float().mean()
        return {f"block/{self.index}/loss": loss.detach(), f"block/{self.index}/accuracy": accuracy}

    def train(self, training: bool) -> None:
        """Switch between training and evaluation mode."""
        self._modules.train(training)

    def weights(self) -> list[Tensor]:
        """The live trained weights: those of the layers, then those of the block's own modules."""
        return [parameter.detach() for parameter in self._parameters]

    @torch.no_grad()
    def set_weights(self, weights: list[Tensor]) -> None:
        """Go on from copies of these, in the order of `weights`."""
        torch._foreach_copy_(self.weights(), weights)

    def optimizer_state(self, named: Iterable[tuple[str, Tensor]]) -> OptimizerState:
        """What the optimizer remembers of this block's parameters, by their names in `named`."""
        return self._updater.optimizer_state(named)

    def set_optimizer_state(self, named: Iterable[tuple[str, Tensor]], moments: OptimizerState) -> None:
        """Go on from `moments`; the block's own modules begin without."""
        self._updater.set_optimizer_state(named, moments)

    def statistics(self) -> list[Tensor]:
        """The live running statistics of its norms, which move with the samples it sees."""
        return [buffer for buffer in self._modules.buffers() if buffer.is_floating_point()]

    def state_dict(self) -> dict[str, Any]:
        """Weights, head and optimizer: a copy that later steps leave alone."""
        return {"modules": deepcopy(self._modules.state_dict()), "updater": self._updater.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._modules.load_state_dict(state["modules"])
        self._updater.load_state_dict(state["updater"])

    def _update(self) -> None:
        """Take an optimizer step by the gradients there are, or by their means over the replicas."""
        if self._gradient_peers is not None:
            gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
            self._gradient_peers.average(gradients)
        self._updater.step()


@dataclass(kw_only=True)
class Objective(ABC):
    """What a block minimises while the others move. A new one is a subclass (with its block) in one file,
    and one YAML.

    Attributes:
        name: The choice, as tables show it.
    """

    name: str

    @property
    def head_kind(self) -> str | None:
        """The kind of auxiliary head that every block but the last has; None for none."""
        return None

    def cannot(self, exchange: str) -> str | None:
        """Why this objective cannot do with an exchange; None if it can."""
        return None

    @property
    def sends_gradients(self) -> bool:
        """Whether gradients flow back between blocks."""
        return False

    @abstractmethod
    def cost(self, seconds: LayerSeconds, *, exchange: str) -> BlockCost:
        """What a step of a block costs under an exchange, from the times of its layers."""

    @abstractmethod
    def block(self, parts: BlockSpec) -> Block:
        """A block that minimises this objective."""
