"""torchvision's residual networks for large images, cut into layers."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from layerpar.architectures.base import Architecture, Network
from layerpar.errors import require

DEPTHS = (18, 34, 50, 101, 152)
BASE_WIDTH = 64


@dataclass(kw_only=True)
class TorchvisionResNet(Architecture):
    """`torchvision.models.resnet18` to `resnet152`, weights interchangeable: same module, same names.

    Layers to cut between: the stem (convolution, norm, ReLU, max pool), every residual block, the classifier
    (pool, linear). Weights are drawn by torchvision: He et al. 2015 for convolutions. Images with other than
    three channels get a first convolution of their own; all else, names included, stays the same.

    Attributes:
        depth: 18, 34, 50, 101 or 152.
        width: Channels inside the first bottleneck. 64 is the plain network, 128 torchvision's
            `wide_resnet50_2`. Depths 18 and 34 have no bottlenecks and only the one width.
    """

    channels_last: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        nearest = min(DEPTHS, key=lambda depth: abs(depth - self.depth))
        require(
            self.depth == nearest,
            f"architecture.depth={self.depth} is none of {', '.join(map(str, DEPTHS))}; "
            f"try architecture.depth={nearest}",
        )
        require(
            self.depth >= 50 or self.width == BASE_WIDTH,
            f"architecture.width={self.width} needs bottlenecks, which start at architecture.depth=50; "
            f"try architecture.width={BASE_WIDTH}",
        )

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> Network:
        # Imported where it is needed: it takes about two seconds.
        from torchvision import models

        plain = getattr(models, f"resnet{self.depth}")(num_classes=num_classes, width_per_group=self.width)
        channels = input_shape[0]
        if channels != 3:
            plain.conv1 = nn.Conv2d(channels, BASE_WIDTH, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(plain.conv1.weight, mode="fan_out", nonlinearity="relu")
        stages = (plain.layer1, plain.layer2, plain.layer3, plain.layer4)
        stem = nn.Sequential(plain.conv1, plain.bn1, plain.relu, plain.maxpool)
        head = nn.Sequential(plain.avgpool, nn.Flatten(), plain.fc)
        return Network([stem, *(block for stage in stages for block in stage), head], plain)
