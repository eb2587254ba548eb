"""Residual networks for small images: the CIFAR family of He et al. 2016 (arXiv 1512.03385, section 4.2)."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layerpar.architectures.base import Architecture, Network
from layerpar.architectures.convolution import Convolution, classifier, initialize
from layerpar.errors import require


class Residual(nn.Module):
    """Two 3 x 3 convolutions with batch norm and a shortcut without weights around them.

    Where the sides are halved the shortcut takes every second pixel and fills the new channels with zeros:
    the paper's option A, on which its parameter counts rest.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.new_channels = outputs - inputs
        self.branch = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(inputs, outputs, 3, stride=self.stride, padding=1, bias=False),
                norm1=nn.BatchNorm2d(outputs),
                relu=nn.ReLU(inplace=True),
                conv2=nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
                norm2=nn.BatchNorm2d(outputs),
            )
        )

    def forward(self, activation: Tensor) -> Tensor:
        return (self.branch(activation) + shortcut(activation, self.stride, self.new_channels)).relu_()

    def halves(self) -> list[nn.Module]:
        """Two layers that compute the same, with the same weights."""
        return [Opening(self), Closing(self)]


def shortcut(activation: Tensor, stride: int, new_channels: int) -> Tensor:
    """The input of a residual block, brought to the shape of its output."""
    if stride == 1:
        return activation
    return F.pad(activation[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, new_channels))


class Opening(nn.Module):
    """The first half of a residual block: its first convolution, beside the shortcut as further channels."""

    def __init__(self, block: Residual) -> None:
        super().__init__()
        self._stride, self._new_channels = block.stride, block.new_channels
        self.branch = block.branch[:3]

    def paths(self, activation: Tensor) -> tuple[Tensor, Tensor]:
        """What goes through the second convolution, and what goes past it."""
        return self.branch(activation), shortcut(activation, self._stride, self._new_channels)

    def forward(self, activation: Tensor) -> Tensor:
        return torch.cat(self.paths(activation), dim=1)

    def joined(self, following: nn.Module) -> nn.Module:
        """The whole block, where both halves are on one side of a cut."""
        assert isinstance(following, Closing)
        return Halves(self, following)


class Closing(nn.Module):
    """The second half of a residual block."""

    def __init__(self, block: Residual) -> None:
        super().__init__()
        self.branch = block.branch[3:]

    def add(self, paths: tuple[Tensor, Tensor]) -> Tensor:
        """The block's output from what `Opening.paths` gave."""
        through, past = paths
        return (self.branch(through) + past).relu_()

    def forward(self, activation: Tensor) -> Tensor:
        through, past = activation.chunk(2, dim=1)
        return self.add((through, past))


class Halves(nn.Module):
    """Both halves of a residual block, without a tensor that holds the two paths."""

    def __init__(self, opening: Opening, closing: Closing) -> None:
        super().__init__()
        self.opening = opening
        self.closing = closing

    def forward(self, activation: Tensor) -> Tensor:
        return self.closing.add(self.opening.paths(activation))


@dataclass(kw_only=True)
class ResNet(Architecture):
    """ResNet-20, 32, 44, 56, 110 and every other depth of 6n + 2.

    Layers to cut between: the stem, n residual blocks in each of three stages, the classifier: 3n + 2. Stages
    have 1, 2 and 4 times `width` channels at whole, half and quarter sides. Convolutions start as in He et
    al. 2015. Wide by `width`, though with the activation after the sum, unlike Zagoruyko & Komodakis' WRN.

    Attributes:
        depth: Layers with weights as the paper counts them: 6n + 2, at least 8.
        width: Channels of the first stage; 16 in the paper.
        fine_cuts: Let residual blocks be cut in their middle too, for a better balance: 6n + 2 layers.
    """

    channels_last: ClassVar[bool] = True

    fine_cuts: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        nearest = 6 * max(1, round((self.depth - 2) / 6)) + 2
        require(
            self.depth == nearest,
            f"architecture.depth={self.depth} is not 6n+2 with n >= 1; try architecture.depth={nearest}",
        )

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> Network:
        stem = Convolution(input_shape[0], self.width, norm="batch")
        blocks: list[Residual] = []
        channels = self.width
        for outputs in (self.width, 2 * self.width, 4 * self.width):
            for _ in range((self.depth - 2) // 6):
                blocks.append(Residual(channels, outputs))
                channels = outputs
        last = classifier(channels, num_classes)
        plain = nn.Sequential(stem, *blocks, last)
        between = [half for block in blocks for half in block.halves()] if self.fine_cuts else blocks
        network = Network([stem, *between, last], plain)
        initialize(network.plain)
        return network
