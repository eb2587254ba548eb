"""Layers that sleep instead of computing: everything around them is real, on more workers than cores."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from layerpar.architectures.base import Architecture, Network

SAMPLES = 32
"""Of the batch whose time `milliseconds` is."""


class _Sleep(torch.autograd.Function):
    """Takes its time in proportion to samples, for every gradient that is wanted; all values are zeros."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weights: Tensor, features: int, seconds: float) -> Tensor:
        ctx.shapes, ctx.seconds = (inputs.shape, weights.shape), seconds
        time.sleep(seconds * len(inputs))
        return inputs.new_zeros(len(inputs), features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        found: list[Tensor | None] = []
        for shape, wanted in zip(ctx.shapes, ctx.needs_input_grad, strict=False):
            if wanted:
                time.sleep(ctx.seconds * len(gradient))
            found.append(gradient.new_zeros(shape) if wanted else None)
        return (*found, None, None)


class Sleeping(nn.Module):
    """A layer that puts out activations of the right shape when a layer like it would have computed them."""

    def __init__(self, features: int, milliseconds: float, kibibytes: int) -> None:
        super().__init__()
        self.features, self.milliseconds = features, milliseconds
        self.weights = nn.Parameter(torch.zeros(kibibytes * 256))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = _Sleep.apply(inputs, self.weights, self.features, self.milliseconds / 1000 / SAMPLES)
        assert isinstance(outputs, Tensor)
        return outputs

    def extra_repr(self) -> str:
        return f"{self.features}, {self.milliseconds} ms"


@dataclass(kw_only=True)
class Emulated(Architecture):
    """`depth` sleeping layers, the last of which is the classifier.

    Attributes:
        milliseconds: Of a layer's forward over `SAMPLES` samples, and of each of its two backwards.
        uneven: How much longer every third layer takes.
        kibibytes: Of each layer's parameters.
    """

    milliseconds: float
    uneven: float
    kibibytes: int

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> Network:
        return Network(
            [
                Sleeping(
                    self.width if index + 1 < self.depth else num_classes,
                    self.milliseconds * (1 + self.uneven * (index % 3 == 1)),
                    self.kibibytes,
                )
                for index in range(self.depth)
            ]
        )
