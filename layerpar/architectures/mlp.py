"""Multi-layer perceptrons."""

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from layerpar.architectures.base import Architecture, Network
from layerpar.errors import require_choice

NORMS = {"none": nn.Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class Hidden(nn.Module):
    """Linear, norm, ReLU; with `residual` the input is added to the result."""

    def __init__(self, inputs: int, width: int, *, norm: str, residual: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, width)
        self.norm: nn.Module = NORMS[norm](width)
        self.residual = residual and inputs == width

    def forward(self, activation: Tensor) -> Tensor:
        hidden = self.norm(self.linear(activation.flatten(1))).relu()
        return activation + hidden if self.residual else hidden


@dataclass(kw_only=True)
class MLP(Architecture):
    """`depth` hidden layers of `width` units and a linear classifier: `depth + 1` layers to cut between.

    Attributes:
        norm: `none`, `batch` or `layer`.
        residual: Add a hidden layer's input to its output where their sizes agree.
    """

    norm: str
    residual: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("architecture.norm", self.norm, NORMS)

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> Network:
        channels, height, width = input_shape
        sizes = [channels * height * width] + [self.width] * self.depth
        hidden: list[nn.Module] = [
            Hidden(inputs, outputs, norm=self.norm, residual=self.residual)
            for inputs, outputs in pairwise(sizes)
        ]
        return Network([*hidden, nn.Linear(self.width, num_classes)])
