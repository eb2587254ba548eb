"""Residual networks for small images: the CIFAR family of He et al. 2016 (arXiv 1512.03385, section 4.2)."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

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
        shortcut = activation
        if self.stride > 1:
            kept = activation[:, :, :: self.stride, :: self.stride]
            shortcut = F.pad(kept, (0, 0, 0, 0, 0, self.new_channels))
        return (self.branch(activation) + shortcut).relu_()


@dataclass(kw_only=True)
class ResNet(Architecture):
    """ResNet-20, 32, 44, 56, 110 and every other depth of 6n + 2.

    Layers to cut between: the stem, n residual blocks in each of three stages, the classifier: 3n + 2. Stages
    have 1, 2 and 4 times `width` channels at whole, half and quarter sides. Convolutions start as in He et
    al. 2015. Wide by `width`, though with the activation after the sum, unlike Zagoruyko & Komodakis' WRN.

    Attributes:
        depth: Layers with weights as the paper counts them: 6n + 2, at least 8.
        width: Channels of the first stage; 16 in the paper.
    """

    channels_last: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        nearest = 6 * max(1, round((self.depth - 2) / 6)) + 2
        require(
            self.depth == nearest,
            f"architecture.depth={self.depth} is not 6n+2 with n >= 1; try architecture.depth={nearest}",
        )

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> Network:
        layers: list[nn.Module] = [Convolution(input_shape[0], self.width, norm="batch")]
        channels = self.width
        for outputs in (self.width, 2 * self.width, 4 * self.width):
            for _ in range((self.depth - 2) // 6):
                layers.append(Residual(channels, outputs))
                channels = outputs
        network = Network([*layers, classifier(channels, num_classes)])
        initialize(network.plain)
        return network
