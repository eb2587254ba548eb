"""One stage: consecutive layers between two wires, as `torch.distributed.pipelining` moves tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from layerpar.layerwise.links import Wire
from layerpar.modes.base import Workload


class StageModule(nn.Module):
    """Takes what came over the wire, puts out what goes over the next one.

    Pipelining sends tensors as they are, gloo takes contiguous ones only: so channels_last activations
    cross as (batch, height, width, channel), a view that costs nothing, and their gradients alike.

    Args:
        workload: What to train.
        layers: The stage's layers, in order.
        entry: From the stage before; None on the first stage, which takes images.
        exit: To the stage after; None on the last stage, which puts out logits.
    """

    def __init__(
        self, workload: Workload, layers: list[nn.Module], *, entry: Wire | None, exit: Wire | None
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.entry = entry
        self.exit = exit
        self._workload = workload
        self._compiled = workload.compiled(self.layers.forward)

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.requires_grad:
            inputs.register_hook(torch.Tensor.contiguous)  # few backwards promise a layout
        activation = inputs if self.entry is None else self.entry.unpack(inputs, self._workload.device)
        with self._workload.autocast():
            outputs = self._compiled(activation) if self.training else self.layers(activation)
        return outputs if self.exit is None else _Own.apply(self.exit.pack(outputs))


class _Own(torch.autograd.Function):
    """The same memory as a tensor that autograd takes for no view: schedules detach outputs in place."""

    @staticmethod
    def forward(ctx: Any, wire: Tensor) -> Tensor:
        return wire.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient
