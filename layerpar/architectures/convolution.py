"""The parts that the convolutional families share."""

from collections import OrderedDict

from torch import nn

NORMS = ("none", "batch", "layer")


def norm_layer(kind: str, channels: int) -> nn.Module:
    """Normalises (batch, channel, height, width); `layer` is a group norm of one group (arXiv 1803.08494)."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(1, channels) if kind == "layer" else nn.Identity()


class Convolution(nn.Sequential):
    """3 x 3 convolution, norm, ReLU and, with `pool`, a max pool that halves the sides."""

    def __init__(self, inputs: int, outputs: int, *, norm: str, pool: bool = False) -> None:
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            conv=nn.Conv2d(inputs, outputs, 3, padding=1, bias=norm == "none"),
            norm=norm_layer(norm, outputs),
            relu=nn.ReLU(inplace=True),
        )
        if pool:
            parts["pool"] = nn.MaxPool2d(2)
        super().__init__(parts)


def classifier(channels: int, num_classes: int) -> nn.Module:
    """Global average pool and linear map: (batch, channel, height, width) to (batch, classes)."""
    return nn.Sequential(
        OrderedDict(
            pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), linear=nn.Linear(channels, num_classes)
        )
    )


def initialize(network: nn.Module) -> None:
    """Draw convolutions as He et al. 2015 (normal, fan out), like torchvision; leave the rest as it is."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
