"""Plain convolutional networks."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from layerpar.architectures.base import Architecture, Network
from layerpar.architectures.convolution import NORMS, Convolution, classifier, initialize
from layerpar.errors import require, require_at_least, require_choice


@dataclass(kw_only=True)
class CNN(Architecture):
    """`depth` 3 x 3 convolutions of the VGG kind and a linear classifier: `depth + 1` layers to cut between.

    The convolutions are spread evenly over `stages`. From one stage to the next a max pool, inside the
    stage's last layer, halves the sides and the channels double: layers cost about the same everywhere.

        depth 8, width 32, stages 3 on 32 x 32:   32 32 32↓  64 64 64↓  128 128   pool linear
                                                   32 x 32    16 x 16    8 x 8

    Convolutions start as in He et al. 2015.

    Attributes:
        depth: Convolutions.
        width: Channels of the first stage.
        stages: Resolutions.
        norm: `none`, `batch` or `layer`.
        fine_cuts: Let layers be cut between convolution and norm too, where there is one, which balances
            workers better: 2 depth + 1 layers.
    """

    channels_last: ClassVar[bool] = True

    stages: int
    norm: str
    fine_cuts: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least("architecture.stages", self.stages, 1)
        require_choice("architecture.norm", self.norm, NORMS)
        require(
            self.stages <= self.depth,
            f"architecture.stages={self.stages} needs at least as many convolutions, not architecture.depth="
            f"{self.depth}; try architecture.stages={self.depth}",
        )

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> Network:
        channels, height, width = input_shape
        possible = min(height, width).bit_length()
        require(
            self.stages <= possible,
            f"architecture.stages={self.stages} halves the sides {self.stages - 1} times, too often for "
            f"{height} x {width}; try architecture.stages={min(possible, self.depth)}",
        )
        stage_of = [index * self.stages // self.depth for index in range(self.depth)]
        convolutions: list[Convolution] = []
        for stage, following in zip(stage_of, [*stage_of[1:], stage_of[-1]], strict=True):
            outputs = self.width << stage
            convolutions.append(Convolution(channels, outputs, norm=self.norm, pool=following > stage))
            channels = outputs
        last = classifier(channels, num_classes)
        plain = nn.Sequential(*convolutions, last)
        layers: list[nn.Module] = list(convolutions)
        if self.fine_cuts and self.norm != "none":
            layers = [part for conv, *rest in convolutions for part in (conv, nn.Sequential(*rest))]
        network = Network([*layers, last], plain)
        initialize(network.plain)
        return network
