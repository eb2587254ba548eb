"""What decides how long a layer takes: those that are alike cost alike, and are measured once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import NamedTuple

from torch import Tensor, nn

from layerpar.architectures.base import outputs


class Kind(NamedTuple):
    """A layer, as far as its time depends on it.

    Attributes:
        appearance: See `appearance`.
        inputs: The shape of a sample that it takes.
        outputs: The shape of what it makes of one; empty where nothing follows.
    """

    appearance: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...] = ()


def appearance(module: nn.Module) -> str:
    """Its class, how it prints, and the shapes of its weights and buffers: a module need not print those."""
    tensors = chain(module.named_parameters(), module.named_buffers())
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors}
    return f"{type(module).__module__}.{module!r} {shapes}"


def of_layers(layers: Sequence[nn.Module], inputs: Tensor) -> list[Kind]:
    """The kind of each layer of a network that takes `inputs`, two samples or more on any device."""
    shapes = [tuple(activation.shape[1:]) for activation in (inputs, *outputs(layers, inputs))]
    return [Kind(appearance(layer), *around) for layer, around in zip(layers, pairwise(shapes), strict=True)]
