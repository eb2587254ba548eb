"""The objective `delayed`: the network's true loss, by gradients that come back some micro-batches late."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from layerpar import seeds
from layerpar.errors import require, require_at_least, require_choice
from layerpar.objectives.base import Objective
from layerpar.objectives.block import ACTIVATION, Block, BlockSpec, Message, Messages
from layerpar.objectives.compensation import SpikeCompensated, check_spike
from layerpar.optimizers import OptimizerConfig
from layerpar.partition import costs
from layerpar.partition.costs import LayerSeconds
from layerpar.partition.cuts import BlockCost

GRADIENT = "gradient"
"""The message that goes up: the gradient of the step's mean loss by the activation."""


class Pending(NamedTuple):
    """A micro-batch whose gradient has not come back yet.

    Attributes:
        inputs: What the block was given.
        outputs: What it made of them with the graph that leads back to `weights` (its share of the loss, on
            the last block); None where the forward will be run again.
        weights: The weights that the forward used.
        random_state: Of torch's generators before a forward that will be run again, for dropout.
    """

    inputs: Tensor
    outputs: Tensor | None
    weights: list[Tensor]
    random_state: dict[str, Any] | None


class DelayedBlock(Block):
    """Minimises ⟨g, f(h; w)⟩, g being the gradient that the next block sent for an earlier micro-batch.

    The backward of a micro-batch uses the weights of its forward. So an update must leave those alone while
    some are under way: it moves the parameters to fresh memory first, and the old graphs keep the old memory.
    Without a stash it updates in place, and the old graphs go backward through the new weights.

    Args:
        spec: What it is made of.
        options: The objective.
        delay: D_k, in micro-batches.
    """

    def __init__(self, spec: BlockSpec, options: Delayed, *, delay: int) -> None:
        super().__init__(spec, options.microbatches)
        self._is_first, self._is_last = spec.index == 0, spec.is_last
        self._shrink = options.shrink
        self._recompute = options.recompute and delay > 0
        self._stash = options.stash and not self._recompute
        self._names = [name for name, _ in self.layers.named_parameters()]
        self._pending: deque[Pending] = deque()
        self._version = self._leaves()

    def forward(self, incoming: Messages, labels: Tensor) -> Messages:
        inputs = incoming[ACTIVATION].detach()
        inputs.requires_grad_(not self._is_first)
        random_state = seeds.random_state(inputs.device) if self._recompute else None
        with self._autocast(), torch.set_grad_enabled(not self._recompute):
            outputs = activation = self._call(inputs)
            if self._is_last:
                loss = nn.functional.cross_entropy(activation, labels)
                self._losses.append(loss.detach())
                outputs = self._share(loss)
        kept = None if self._recompute else outputs
        self._pending.append(Pending(inputs, kept, self._version, random_state))
        return {ACTIVATION: activation.detach()}

    def backward(self, incoming: Messages) -> Messages:
        inputs, outputs, weights, random_state = self._pending.popleft()
        if outputs is None:
            weights = self._version
            outputs = self._call_again(inputs, random_state)
        wanted = weights if self._is_first else [*weights, inputs]
        gradients = torch.autograd.grad(outputs, wanted, incoming.get(GRADIENT))
        self._accumulate(gradients[: len(weights)])
        if self._is_first:
            return {}
        return {GRADIENT: gradients[-1] if self._shrink == 1 else gradients[-1] * self._shrink}

    def update(self) -> Tensor | None:
        self._leave_memory()
        loss = super().update()
        self._version = self._leaves()
        return loss

    def set_weights(self, weights: list[Tensor]) -> None:
        self._leave_memory()
        super().set_weights(weights)
        self._version = self._leaves()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._version = self._leaves()

    def _call(self, inputs: Tensor, **buffers: Tensor) -> Tensor:
        tensors = dict(zip(self._names, self._version, strict=True)) | buffers
        outputs = torch.func.functional_call(self.layers, tensors, (inputs,))
        assert isinstance(outputs, Tensor)
        return outputs

    def _call_again(self, inputs: Tensor, random_state: dict[str, Any] | None) -> Tensor:
        """The forward with the weights of now and the dropout of then; statistics stay as they are."""
        with seeds.undisturbed(inputs.device), self._autocast():
            if random_state is not None:
                seeds.set_random_state(random_state, inputs.device)
            return self._call(
                inputs, **{name: buffer.clone() for name, buffer in self.layers.named_buffers()}
            )

    def _accumulate(self, gradients: tuple[Tensor, ...]) -> None:
        for parameter, own in zip(self._parameters, gradients, strict=True):
            if parameter.grad is not None:
                parameter.grad += own
            elif own.stride() == parameter.stride():
                parameter.grad = own
            else:  # a fused optimizer reads both by the parameter's strides
                parameter.grad = torch.empty_like(parameter).copy_(own)

    def _leaves(self) -> list[Tensor]:
        """The weights as they are now, leaves of the graphs to come, with own version counters."""
        return [parameter.data.requires_grad_() for parameter in self._parameters]

    def _leave_memory(self) -> None:
        """Before weights change in place: move them to copies, if backwards through the old ones are due."""
        if not (self._pending and self._stash):
            return
        for parameter in self._parameters:
            parameter.data = parameter.data.clone(memory_format=torch.preserve_format)


@dataclass(kw_only=True)
class Delayed(Objective):
    """Decoupled backpropagation with delayed gradients (DDG, Huo et al. 2018, arXiv 1804.10574; FDG, Zhuang
    et al. 2021, arXiv 1906.09108), in micro-batches (ADL, Zhuang et al. 2020, arXiv 2012.03747).

    Block k of K (from 0) takes the gradient of a micro-batch when D_k = link_delay · (K - 1 - k) later ones
    have gone forward: by count, not by arrival, so timing never changes the result. As it updates once per M
    micro-batches, only D_k of every M see older weights, by one update where D_k ≤ M. BatchNorm normalises by
    micro-batches.

    Attributes:
        link_delay: Micro-batches of delay per link between blocks. 2: all blocks work in lock-step, never
            waiting for each other within a tick. 1: as an asynchronous 1F1B pipeline without flush
            (PipeDream). 0: exact backpropagation, blocks taking turns.
        shrink: Factor on the gradient at each boundary it crosses, in (0, 1].
        recompute: Run the forward again with the current weights instead of keeping the graph (saves memory).
        stash: Go backward through the weights of the forward, which costs a copy of the weights per update.
            Else through those there are by then, with no copy (PACI, Elam et al. 2026, arXiv 2606.07881).
        compensation: `none`, or `spike` (Kosson et al. 2020, arXiv 2003.11666): SGD with momentum weighs the
            new gradient more, the later it comes.
    """

    link_delay: int
    shrink: float
    recompute: bool
    stash: bool
    compensation: str

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least("objective.link_delay", self.link_delay, 0)
        shrink = self.shrink
        require(0 < shrink <= 1, f"objective.shrink={shrink} is not in (0, 1]; try objective.shrink=0.7")
        require_choice("objective.compensation", self.compensation, ("none", "spike"))

    @property
    def delay_per_link(self) -> int:
        return self.link_delay

    def check(self, *, exchange: str, batch_size: int, optimizer: OptimizerConfig, precision: str) -> None:
        super().check(exchange=exchange, batch_size=batch_size, optimizer=optimizer, precision=precision)
        require(
            self.stash or self.recompute or precision == "fp32",
            f"objective.stash=false would change nothing with precision={precision}: graphs keep the weights "
            "that autocast has cast for the forward; try objective.stash=true",
        )
        if self.compensation == "spike":
            check_spike(optimizer)

    def cannot(self, exchange: str) -> str | None:
        return "a gradient comes back in every step" if exchange == "weights" else None

    def messages(self, activation: Tensor, *, num_classes: int) -> list[Message]:
        below = super().messages(activation, num_classes=num_classes)
        return [*below, Message(GRADIENT, "up", tuple(activation.shape[1:]), activation.dtype)]

    def cost(self, seconds: LayerSeconds, *, exchange: str) -> BlockCost:
        late = self.link_delay > 0  # else each gradient meets the weights and the graph of its forward
        return costs.delayed(
            seconds, recompute=late and self.recompute, stash=late and self.stash and not self.recompute
        )

    def block(self, spec: BlockSpec) -> Block:
        delay = self.link_delay * (spec.num_blocks - 1 - spec.index)
        if self.compensation == "spike":
            spec = replace(
                spec, optimizer=SpikeCompensated.of(spec.optimizer, delay=delay / self.microbatches)
            )
        return DelayedBlock(spec, self, delay=delay)
