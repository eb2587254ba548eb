"""Auxiliary heads: the classifiers with which blocks learn on their own, for every kind of activation.

An activation is a feature map (channel, height, width), a sequence (time, feature) or a vector (feature,).
A sequence is treated as a feature map with one side: time is its side, features are its channels.

    linear   pool to 2 | FC                                      (pooled as in `mlp`)
    mlp      pool to a quarter | 3 x (1x1 conv, norm, ReLU) | pool to 2 | 3 x (FC, norm, ReLU) | FC
                                                                 MLP-SR of DGL (arXiv 1901.08164)
    conv     3x3 conv, norm, ReLU | pool to 1 | FC, ReLU | FC    1c2f of InfoPro (arXiv 2101.10832)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

CONV_HIDDEN = 128
"""Units of the hidden linear layer of `conv`, InfoPro's `feature_dim`."""
VECTOR_REDUCTION = 8
"""How many times narrower than a vector activation `mlp` is, which has no sides to shrink instead."""

_CONV: dict[int, type[nn.Conv1d | nn.Conv2d]] = {1: nn.Conv1d, 2: nn.Conv2d}
_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
_POOL = {1: nn.AvgPool1d, 2: nn.AvgPool2d}


def build(kind: str, activation_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """A head that maps activations, batch first, to logits (batch, classes).

    Weights are drawn from torch's global generator, on the default device: He et al. 2015 before a ReLU,
    torch's default for the last linear layer. No head changes the activation it is given.

    Args:
        kind: `linear`, `mlp` or `conv`.
        activation_shape: Of one sample: (channel, height, width), (time, feature) or (feature,).
        num_classes: Logits per sample.
    """
    if len(activation_shape) == 1:
        return nn.Sequential(*_vector_head(kind, activation_shape[0], num_classes))
    channels, sides = _as_map(activation_shape)
    parts = {"linear": _linear, "mlp": _mlp, "conv": _conv}[kind](channels, sides, num_classes)
    turn = [_FeaturesFirst()] if len(activation_shape) == 2 else []
    return nn.Sequential(*turn, *parts)


def after(
    layers: Sequence[nn.Module], kind: str | None, activation_shape: tuple[int, ...], num_classes: int
) -> nn.Module:
    """Copies of a network's layers, with their weights, and a head on what they put out.

    Args:
        layers: On any device.
        kind: As for `build`; None where the layers end in the network's classifier.
        activation_shape: Of one sample of what the first layer takes.
        num_classes: Logits per sample.
    """
    copies = [deepcopy(layer) for layer in layers]
    if kind is None:
        return nn.Sequential(*copies)
    return nn.Sequential(*copies, *build(kind, _shape_after(layers, activation_shape), num_classes))


def _shape_after(layers: Sequence[nn.Module], activation_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of one sample, found without computing anything."""
    activation = torch.empty(2, *activation_shape, device="meta")
    with torch.no_grad():
        for layer in layers:
            activation = deepcopy(layer).to("meta").eval()(activation)
    return tuple(activation.shape[1:])


def _as_map(activation_shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Channels and sides of a feature map or of a sequence."""
    if len(activation_shape) == 2:
        time, features = activation_shape
        return features, (time,)
    return activation_shape[0], activation_shape[1:]


class _FeaturesFirst(nn.Module):
    """(batch, time, feature) to (batch, feature, time)."""

    def forward(self, sequence: Tensor) -> Tensor:
        return sequence.transpose(1, 2)


def _linear(channels: int, sides: tuple[int, ...], num_classes: int) -> Iterator[nn.Module]:
    pool, sides = _pool(sides, tuple(min(2, side) for side in sides))
    yield from (pool, nn.Flatten(), nn.Linear(channels * prod(sides), num_classes))


def _mlp(channels: int, sides: tuple[int, ...], num_classes: int) -> Iterator[nn.Module]:
    pool, sides = _pool(sides, tuple(max(-(-side // 4), min(2, side)) for side in sides))
    yield pool
    for _ in range(3):
        yield _he(_CONV[len(sides)](channels, channels, 1, bias=False))
        yield from (_NORM[len(sides)](channels), nn.ReLU(inplace=True))
    pool, sides = _pool(sides, tuple(min(2, side) for side in sides))
    features = channels * prod(sides)
    yield from (pool, nn.Flatten())
    yield from _fully_connected([features] * 4)
    yield nn.Linear(features, num_classes)


def _conv(channels: int, sides: tuple[int, ...], num_classes: int) -> Iterator[nn.Module]:
    # InfoPro halves the sides and doubles the channels (16 or 32) except on the last stage's 64 x 8 x 8.
    # Without a bound, the head of a wide activation such as ResNet-50's would cost as much as a block.
    stride = 2 if max(sides) > 8 else 1
    outputs = min(channels * stride, CONV_HIDDEN)
    yield _he(_CONV[len(sides)](channels, outputs, 3, stride=stride, padding=1, bias=False))
    yield from (_NORM[len(sides)](outputs), nn.ReLU(inplace=True))
    pool, _ = _pool(tuple(-(-side // stride) for side in sides), (1,) * len(sides))
    yield from (pool, nn.Flatten(), _he(nn.Linear(outputs, CONV_HIDDEN)), nn.ReLU(inplace=True))
    yield nn.Linear(CONV_HIDDEN, num_classes)


def _vector_head(kind: str, features: int, num_classes: int) -> Iterator[nn.Module]:
    """A vector has neither sides to pool nor neighbours to convolve: what is left are the linear layers."""
    hidden = max(1, features // VECTOR_REDUCTION)
    sizes = {
        "linear": [features],
        "mlp": [features, hidden, hidden, hidden],
        "conv": [features, CONV_HIDDEN],
    }[kind]
    yield from _fully_connected(sizes)
    yield nn.Linear(sizes[-1], num_classes)


def _fully_connected(sizes: list[int]) -> Iterator[nn.Module]:
    for inputs, outputs in pairwise(sizes):
        yield from (
            _he(nn.Linear(inputs, outputs, bias=False)),
            nn.BatchNorm1d(outputs),
            nn.ReLU(inplace=True),
        )


def _pool(sides: tuple[int, ...], target: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
    """Average pooling from `sides` to `target`; windows overlap where one does not divide the other.

    Not torch's adaptive pooling, whose gradient on CUDA depends on the order in which threads add.
    """
    stride = tuple(side // size for side, size in zip(sides, target, strict=True))
    kernel = tuple(side - (size - 1) * step for side, size, step in zip(sides, target, stride, strict=True))
    return _POOL[len(sides)](kernel, stride), target


def _he(module: nn.Linear | nn.Conv1d | nn.Conv2d) -> nn.Module:
    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module
