"""torchvision's VGG networks, cut into layers."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from layerpar.architectures.base import Architecture, Network
from layerpar.architectures.convolution import initialize
from layerpar.errors import require, require_choice

CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions in each of the five stages, by depth (Simonyan & Zisserman 2015, table 1)."""


@dataclass(kw_only=True)
class VGG(Architecture):
    """`torchvision.models.vgg11` to `vgg19_bn`, weights interchangeable: same module, same names.

    Layers to cut between: each convolution with its norm, ReLU and pool; then the three linear layers, the
    first with the pooling to 7 x 7 that lets images of any size from 32 x 32 up fit. Weights are drawn as
    torchvision draws them: He et al. 2015 for convolutions, deviation 0.01 for linear layers.

    Attributes:
        depth: 11, 13, 16 or 19 layers with weights.
        width: Channels of the first stage. 64 is torchvision's network; every other layer scales with it.
        norm: `none`, or `batch` for torchvision's `_bn` networks.
        dropout: Probability in the two hidden linear layers. torchvision's is 0.5; more than 0 makes results
            depend on where random numbers are drawn, hence on mode and number of workers.
    """

    channels_last: ClassVar[bool] = True

    norm: str
    dropout: float

    def __post_init__(self) -> None:
        super().__post_init__()
        nearest = min(CONVOLUTIONS, key=lambda depth: abs(depth - self.depth))
        require(
            self.depth == nearest,
            f"architecture.depth={self.depth} is none of {', '.join(map(str, CONVOLUTIONS))}; "
            f"try architecture.depth={nearest}",
        )
        require_choice("architecture.norm", self.norm, ("none", "batch"))
        require(
            0 <= self.dropout < 1,
            f"architecture.dropout={self.dropout} is not in [0, 1); try architecture.dropout=0",
        )

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> Network:
        # Imported where it is needed: it takes about two seconds.
        from torchvision import models

        channels, height, width = input_shape
        require(
            min(height, width) >= 32,
            f"architecture={self.name} halves the sides five times, so {height} x {width} is too small; "
            "try architecture=cnn",
        )
        groups: list[list[nn.Module]] = []
        for stage, count in enumerate(CONVOLUTIONS[self.depth]):
            outputs = self.width << min(stage, 3)
            for _ in range(count):
                groups.append(self._convolution(channels, outputs))
                channels = outputs
            groups[-1].append(nn.MaxPool2d(2))
        with torch.device("meta"):  # torchvision's own linear layers are replaced, so they need no memory
            plain = models.VGG(nn.Identity(), num_classes, init_weights=False, dropout=self.dropout)
        plain.features = nn.Sequential(*(module for group in groups for module in group))
        hidden = 64 * self.width
        for index, inputs, outputs in (
            (0, 49 * channels, hidden),
            (3, hidden, hidden),
            (6, hidden, num_classes),
        ):
            plain.classifier[index] = nn.Linear(inputs, outputs)
            nn.init.normal_(plain.classifier[index].weight, std=0.01)
            nn.init.zeros_(plain.classifier[index].bias)
        initialize(plain)
        first = nn.Sequential(plain.avgpool, nn.Flatten(), *plain.classifier[:3])
        linear = [first, plain.classifier[3:6], plain.classifier[6]]
        return Network([*(nn.Sequential(*group) for group in groups), *linear], plain)

    def _convolution(self, inputs: int, outputs: int) -> list[nn.Module]:
        norm = [nn.BatchNorm2d(outputs)] if self.norm == "batch" else []
        return [nn.Conv2d(inputs, outputs, 3, padding=1), *norm, nn.ReLU(inplace=True)]
