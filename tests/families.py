"""Every architecture as its YAML describes it, small enough for a test."""

from __future__ import annotations

import re
from functools import cache

from tiny import composed

from layerpar.architectures.base import Architecture, Network, activations

SHAPE = (3, 32, 32)
CLASSES = 10

FAMILIES = {
    "mlp": ("architecture=mlp", "architecture.depth=2", "architecture.width=16"),
    "cnn": ("architecture=cnn", "architecture.depth=4", "architecture.width=8"),
    "cnn without norm": ("architecture=cnn", "architecture.width=8", "architecture.norm=none"),
    "cnn with layer norm": ("architecture=cnn", "architecture.width=8", "architecture.norm=layer"),
    "resnet": ("architecture=resnet", "architecture.depth=14", "architecture.width=8"),
    "resnet18": ("architecture=resnet18",),
    "resnet50": ("architecture=resnet50",),
    "vgg": ("architecture=vgg", "architecture.width=4"),
    "vgg without norm": ("architecture=vgg", "architecture.width=4", "architecture.norm=none"),
    "lstm": ("architecture=rnn", "architecture.width=16"),
    "gru": ("architecture=rnn", "architecture.width=16", "architecture.cell=gru"),
    "vit": ("architecture=vit", "architecture.depth=2", "architecture.width=16"),
}


@cache
def configured(*overrides: str) -> Architecture:
    """The architecture that a run with these overrides has."""
    return composed(*overrides).architecture


def activation_shapes(network: Network, input_shape: tuple[int, int, int]) -> list[tuple[int, ...]]:
    """The shape, without the batch, of what each layer puts out."""
    return [tuple(output.shape[1:]) for output in activations(network, input_shape)]


def repair(error: BaseException) -> str:
    """The override at the end of an error's one line."""
    message = str(error)
    assert "\n" not in message
    found = re.search(r"; try (\S+=\S+)(?: \(one of .+\))?$", message)
    assert found, message
    return found[1]
