"""What an architecture is: an ordered list of layers that can be cut anywhere. One of your own:

# my_nets.py, anywhere on PYTHONPATH
from dataclasses import dataclass
from torch import nn
from layerpar.architectures.base import Architecture, Network


@dataclass(kw_only=True)
class Plain(Architecture):  # name, depth and width are inherited
    bias: bool

    def build(self, input_shape, num_classes):
        channels, height, width = input_shape
        first = nn.Sequential(
            nn.Flatten(), nn.Linear(channels * height * width, self.width, self.bias), nn.ReLU()
        )
        hidden = [
            nn.Sequential(nn.Linear(self.width, self.width, self.bias), nn.ReLU())
            for _ in range(self.depth - 1)
        ]
        return Network([first, *hidden, nn.Linear(self.width, num_classes)])  # can be cut anywhere

# my_conf/architecture/plain.yaml
_target_: my_nets.Plain
name: plain
depth: 6
width: 256
bias: true

PYTHONPATH=. layerpar compare "hydra.searchpath=[file://$PWD/my_conf]" architecture=plain
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from layerpar.errors import require, require_at_least

MOST_LAYERS = 10_000
"""Beyond that, a slip of the pen would fill the memory with modules before anything is said."""


class Network:
    """A network as the list of its layers, beside the plain module that a user would deploy.

    `plain` and `layers` share their modules, hence their tensors: training the layers trains `plain`.

    Args:
        layers: The smallest units that may be cut, each with weights, all of which are trained; each maps one
            tensor, batch first, to a new one that shares no memory with it, and leaves it unchanged: it may
            be on its way to another worker. One with a method `joined(following)` says how to compute it and
            the following layer without a tensor between them.
        plain: The same computation as one ordinary module, whose `state_dict` names are the checkpoint's;
            by default the layers in a row.

    Raises:
        UserError: two layers share a parameter, which cannot be cut apart, or `plain` does not hold those of
            the layers.
    """

    def __init__(self, layers: list[nn.Module], plain: nn.Module | None = None) -> None:
        self.layers = layers
        self.plain = nn.Sequential(*layers) if plain is None else plain
        owned = [id(parameter) for layer in layers for parameter in layer.parameters()]
        require(
            len(owned) == len(set(owned)),
            "architecture: two layers share a parameter, and may be trained apart; make them one layer",
        )
        require(
            set(owned) == {id(parameter) for parameter in self.plain.parameters()},
            "architecture: plain does not hold the parameters of the layers; build it of the same modules",
        )

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.plain.parameters())

    def segment(self, first: int, last: int) -> list[nn.Module]:
        """Modules that compute layers `first` to `last - 1` in a row, joined where they can be."""
        modules: list[nn.Module] = []
        for layer in self.layers[first:last]:
            join = getattr(modules[-1], "joined", None) if modules else None
            if join is None:
                modules.append(layer)
            else:
                modules[-1] = join(layer)
        return modules

    def names(self, first: int, last: int) -> dict[str, Tensor]:
        """The parameters and buffers of layers `first` to `last - 1`, under their names in `plain`."""
        owned = {
            id(tensor)
            for layer in self.layers[first:last]
            for tensor in layer.state_dict(keep_vars=True).values()
        }
        named = self.plain.state_dict(keep_vars=True)
        return {name: tensor for name, tensor in named.items() if id(tensor) in owned}


@dataclass(kw_only=True)
class Architecture:
    """A family of networks. A new one is a subclass with `build` in one file, and one YAML.

    Attributes:
        name: The choice, as tables show it.
        depth: How deep; each subclass says of what.
        width: How wide; each subclass says of what.
    """

    channels_last: ClassVar[bool] = False
    """Images and activations are laid out (batch, height, width, channel): faster for convolutions."""

    name: str
    depth: int
    width: int

    def __post_init__(self) -> None:
        require_at_least("architecture.depth", self.depth, 1)
        require_at_least("architecture.width", self.width, 1)
        require(
            self.depth <= MOST_LAYERS,
            f"architecture.depth={self.depth} is too large; try architecture.depth={MOST_LAYERS}",
        )

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> Network:
        """The network with freshly drawn weights (from torch's global generator, on the default device).

        Before a run starts the default device is `meta`, where tensors have shapes and no values.

        Args:
            input_shape: Channels, height and width of an image.
            num_classes: Logits per sample.

        Raises:
            UserError: the data set's images do not fit.
        """
        raise NotImplementedError

    def create(self, input_shape: tuple[int, int, int], num_classes: int, *, seed: int) -> Network:
        """`build` with the weights that every mode starts from for this seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self.build(input_shape, num_classes)
        if self.channels_last:
            network.plain.to(memory_format=torch.channels_last)
        return network


def activations(network: Network, input_shape: tuple[int, int, int]) -> list[Tensor]:
    """What each layer puts out for two blank images: for shapes, types. Leaves running statistics alone."""
    activation = torch.zeros(2, *input_shape, device=next(network.plain.parameters()).device)
    outputs = []
    with torch.no_grad():
        for layer in network.layers:
            activation = layer.eval()(activation)
            outputs.append(activation)
            layer.train()
    return outputs
