"""A block in training: consecutive layers, their optimizer, and the messages between neighbours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from layerpar.architectures.running_statistics import in_microbatches
from layerpar.optimizers import OptimizerConfig, OptimizerState
from layerpar.transport.replica_group import ReplicaGroup

ACTIVATION = "activation"
"""The message that every objective sends down; to the first block it is the images."""

Messages = Mapping[str, Tensor]
"""Tensors of one micro-batch by the name of their message."""


@dataclass(frozen=True)
class Message:
    """A kind of tensor that crosses every boundary between two blocks, once per micro-batch.

    Attributes:
        name: Under which blocks give and take it.
        direction: `down`, from a forward to the forward of the next block, or `up`, from a backward to the
            backward of the block before, `Objective.delay_per_link` micro-batches later.
        shape: Of one sample.
        dtype: On the wire.
    """

    name: str
    direction: Literal["down", "up"]
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class BlockSpec:
    """What a block is made of.

    Attributes:
        index: Which block of the network, from 0.
        num_blocks: K.
        layers: Its layers, in order.
        output_shape: Of what the block puts out, without the batch.
        num_classes: Labels of the data set.
        seeded: Builds a module of the block's own, with weights that depend on the seed of the run, the name
            given and the block only.
        optimizer: Makes this block's own optimizer.
        total_steps: Steps of the whole run, for the learning rate.
        first_step: How many of them are done when the block starts.
        autocast: The precision in which forwards run.
        replicas: With whom to average gradients before each update; None for nobody.
        above: The network's layers after this block, as at the start of the round, where a worker holds them.
        following: The network's layers after this block, with the common starting weights, to be copied.
    """

    index: int
    num_blocks: int
    layers: Sequence[nn.Module]
    output_shape: tuple[int, ...]
    num_classes: int
    seeded: Callable[[str, Callable[[], nn.Module]], nn.Module]
    optimizer: OptimizerConfig
    total_steps: int
    autocast: Callable[[], AbstractContextManager[Any]]
    replicas: ReplicaGroup | None = None
    above: Sequence[nn.Module] = ()
    following: Sequence[nn.Module] = ()
    first_step: int = 0

    @property
    def is_last(self) -> bool:
        """Whether the block ends in the network's own classifier."""
        return self.index == self.num_blocks - 1


class Block(ABC):
    """Consecutive layers with their own optimizer, trained as a problem of their own.

    The executor calls `forward`, `backward` and `update` in the order of the block's program
    (`layerpar.layerwise.schedule`) and carries the messages.

    Args:
        spec: What it is made of.
        microbatches: Gradients of so many micro-batches add up to those of a step.
        extra: Modules of its own that are trained with it, such as a head.
    """

    def __init__(self, spec: BlockSpec, microbatches: int, *extra: nn.Module) -> None:
        self.index = spec.index
        self.layers = nn.Sequential(*spec.layers)
        self._microbatches = microbatches
        self._modules = nn.ModuleList([self.layers, *extra])
        in_microbatches(self._modules, microbatches)
        self._parameters = list(self._modules.parameters())
        self._updater = spec.optimizer.updater(self._parameters, spec.total_steps, first_step=spec.first_step)
        self._replicas = spec.replicas
        self._autocast = spec.autocast
        self._losses: list[Tensor] = []

    @abstractmethod
    def forward(self, incoming: Messages, labels: Tensor) -> Messages:
        """Compute one micro-batch, in order.

        Args:
            incoming: What the block before sent down.
            labels: (samples,), int64.

        Returns:
            What goes down to the next block; the last block's are not looked at.
        """

    @abstractmethod
    def backward(self, incoming: Messages) -> Messages:
        """Add up the gradients of the oldest micro-batch whose backward is due.

        Args:
            incoming: What the next block sent up; empty on the last block.

        Returns:
            What goes up to the block before; the first block's are not looked at.
        """

    def update(self) -> Tensor | None:
        """Take an optimizer step by the gradients of a step, or by their means over the replicas.

        Returns:
            The mean training loss of the step's micro-batches, None where the block knows none.
        """
        if self._replicas is not None:
            gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
            self._replicas.average(gradients)
        self._updater.step()
        losses, self._losses = self._losses, []
        if not losses:
            return None
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean()

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

    def set_optimizer_state(self, named: Iterable[tuple[str, Tensor]], state: OptimizerState) -> None:
        """Go on from `state`; the block's own modules begin without."""
        self._updater.set_optimizer_state(named, state)

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

    def _share(self, loss: Tensor) -> Tensor:
        """The part that a micro-batch's mean loss has in that of its step."""
        return loss if self._microbatches == 1 else loss / self._microbatches
