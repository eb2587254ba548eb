"""The kinds of a network's layers: those that are alike cost alike, however deep the network is."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from layerpar.architectures.base import Network
from layerpar.check import meta_network
from layerpar.config import RunConfig
from layerpar.datasets.base import DatasetInfo
from layerpar.partition.layer_times import appearance

Kind = tuple[str, tuple[int, ...]]
"""What decides how long a layer takes: its appearance, and the shape of a sample that it takes."""


@dataclass(frozen=True)
class Kinds:
    """A network as the kinds of its layers.

    Attributes:
        network: On the meta device.
        kinds: Of each layer.
    """

    network: Network
    kinds: list[Kind]


def kinds_of(config: RunConfig, info: DatasetInfo) -> Kinds:
    """The kinds of a run's layers. Takes no memory for weights.

    Raises:
        UserError: the architecture cannot be so.
    """
    network = meta_network(config, info)()
    shape: tuple[int, ...] = tuple(info.input_shape)
    kinds: list[Kind] = []
    outputs: dict[Kind, tuple[int, ...]] = {}
    for layer in network.layers:
        kind = (appearance(layer), shape)
        if kind not in outputs:
            with torch.no_grad():
                outputs[kind] = tuple(layer.eval()(torch.empty(2, *shape, device="meta")).shape[1:])
            layer.train()
        kinds.append(kind)
        shape = outputs[kind]
    return Kinds(network, kinds)


def real_layers(kinds: Kinds, config: RunConfig, device: torch.device) -> list[nn.Module]:
    """The layers with memory and harmless weights; those of one kind are the same module."""
    modules: dict[Kind, nn.Module] = {}
    for kind, layer in zip(kinds.kinds, kinds.network.layers, strict=True):
        if kind not in modules:
            modules[kind] = _real(layer, config, device)
    return [modules[kind] for kind in kinds.kinds]


def matched(kinds: Sequence[Kind], known: Sequence[Kind]) -> list[int] | None:
    """Which known layer each layer is like; None where there is one that is like no known layer."""
    places = {kind: index for index, kind in reversed(list(enumerate(known)))}
    if not set(kinds) <= set(places):
        return None
    return [places[kind] for kind in kinds]


def _real(layer: nn.Module, config: RunConfig, device: torch.device) -> nn.Module:
    """A layer of the meta device with memory and harmless weights."""
    real = deepcopy(layer).to_empty(device=device)
    with torch.no_grad():
        for tensor in real.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_(std=0.02) if tensor.dim() > 1 else tensor.fill_(1.0)
            else:
                tensor.zero_()
    for module in real.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    return real.to(memory_format=torch.channels_last) if config.architecture.channels_last else real
