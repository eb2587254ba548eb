"""The objective `delayed`: the network's true loss, by gradients that come back some steps late."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from layerpar.errors import require, require_at_least
from layerpar.objectives.base import Block, BlockSpec, Objective
from layerpar.partition import costs
from layerpar.partition.costs import LayerSeconds
from layerpar.partition.cuts import BlockCost


class Pending(NamedTuple):
    """A batch whose gradient has not come back yet.

    Attributes:
        inputs: What the block was given.
        outputs: What it made of them with the graph that leads back to `weights` (the loss, on the last
            block); None where the forward will be run again.
        weights: The weights that the forward used.
    """

    inputs: Tensor
    outputs: Tensor | None
    weights: list[Tensor]


class DelayedBlock(Block):
    """Minimises ⟨g, f(h; w)⟩, g being the gradient that the next block sent for an earlier batch.

    The backward of a batch uses the weights of its forward. So an update must leave those alone: it moves
    the parameters to fresh memory first, and the old graph keeps the old memory.
    """

    def __init__(self, parts: BlockSpec, *, delay: int, shrink: float, recompute: bool) -> None:
        super().__init__(parts)
        self._delay = delay
        self._shrink = shrink
        self._recompute = recompute and delay > 0
        self._names = [name for name, _ in self.layers.named_parameters()]
        self._pending: deque[Pending] = deque()
        self._version = self._leaves()

    def forward(self, labels: Tensor) -> dict[str, Tensor]:
        inputs = self.links.source.get().detach()
        inputs.requires_grad_(self.links.gradient_sink is not None)
        scalars = {}
        outputs: Tensor | None
        with self._autocast(), torch.set_grad_enabled(not self._recompute):
            with self._span("forward"):
                outputs = self._call(inputs)
            if self.links.sink is not None:
                self.links.sink.put(outputs.detach())
            else:
                logits = outputs
                with self._span("forward"):
                    outputs = nn.functional.cross_entropy(logits, labels)
                scalars = self.classifier_scalars(outputs, logits, labels)
        self._pending.append(Pending(inputs, None if self._recompute else outputs, self._version))
        return scalars

    def backward(self) -> dict[str, Tensor]:
        return self._learn() if len(self._pending) > self._delay else {}

    def finish(self) -> None:
        while self._pending:
            self._learn()

    def set_weights(self, weights: list[Tensor]) -> None:
        self._leave_memory()
        super().set_weights(weights)
        self._version = self._leaves()

    def load_state_dict(self, state: dict[str, object]) -> None:
        super().load_state_dict(state)
        self._version = self._leaves()

    def _learn(self) -> dict[str, Tensor]:
        inputs, outputs, weights = self._pending.popleft()
        if outputs is None:
            weights = self._version
            with self._span("forward", late=len(self._pending)), self._autocast():
                outputs = self._call(inputs, keep_statistics=True)
        gradient = None if self.links.gradient_source is None else self.links.gradient_source.get()
        wanted = [*weights, inputs] if inputs.requires_grad else weights
        with self._span("backward", late=len(self._pending)):
            gradients = torch.autograd.grad(outputs, wanted, gradient)
        if self.links.gradient_sink is not None:
            self.links.gradient_sink.put(gradients[-1] if self._shrink == 1 else gradients[-1] * self._shrink)
        with self._span("update", late=len(self._pending)):
            if self._pending and not self._recompute:
                self._leave_memory()
            for parameter, own in zip(self._parameters, gradients, strict=False):
                parameter.grad = own
            self._update()
            self._version = self._leaves()
        if gradient is None:
            return {}
        linearised = torch.dot(gradient.flatten().float(), outputs.detach().flatten().float())
        return {f"block/{self.index}/loss": linearised}

    def _call(self, inputs: Tensor, *, keep_statistics: bool = False) -> Tensor:
        tensors = dict(zip(self._names, self._version, strict=True))
        if keep_statistics:
            tensors |= {name: buffer.clone() for name, buffer in self.layers.named_buffers()}
        outputs = torch.func.functional_call(self.layers, tensors, (inputs,))
        assert isinstance(outputs, Tensor)
        return outputs

    def _leaves(self) -> list[Tensor]:
        """The weights as they are now, leaves of the graphs to come, with own version counters."""
        return [parameter.data.requires_grad_() for parameter in self._parameters]

    def _leave_memory(self) -> None:
        """Move the parameters to copies, so that updating them in place leaves the old memory alone."""
        for parameter in self._parameters:
            parameter.data = parameter.data.clone(memory_format=torch.preserve_format)


@dataclass(kw_only=True)
class Delayed(Objective):
    """Decoupled backpropagation with delayed gradients (DDG, Huo et al. 2018, arXiv 1804.10574; FDG, Zhuang
    et al. 2021, arXiv 1906.09108).

    Block k of K (from 0) learns from batch i - d at its step i, d = link_delay · (K - 1 - k): by count, not
    by arrival, so timing never changes the result.

    Attributes:
        link_delay: Steps of delay per link between blocks. 2: all blocks work in lock-step, never waiting
            for each other within a step. 1: as an asynchronous 1F1B pipeline without flush (PipeDream). 0:
            exact backpropagation, blocks taking turns.
        shrink: Factor on the gradient at each border it crosses, in (0, 1].
        recompute: Run the forward again with the current weights instead of keeping old ones (saves memory).
    """

    link_delay: int
    shrink: float
    recompute: bool

    def __post_init__(self) -> None:
        require_at_least("objective.link_delay", self.link_delay, 0)
        shrink = self.shrink
        require(0 < shrink <= 1, f"objective.shrink={shrink} is not in (0, 1]; try objective.shrink=0.7")

    def cannot(self, exchange: str) -> str | None:
        return "a gradient comes back in every step" if exchange == "weights" else None

    @property
    def sends_gradients(self) -> bool:
        return True

    def cost(self, seconds: LayerSeconds, *, exchange: str) -> BlockCost:
        return costs.delayed(seconds, recompute=self.recompute)

    def block(self, parts: BlockSpec) -> Block:
        delay = self.link_delay * (parts.num_blocks - 1 - parts.index)
        return DelayedBlock(parts, delay=delay, shrink=self.shrink, recompute=self.recompute)
