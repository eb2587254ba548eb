"""Recurrent networks that read an image row by row."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from layerpar.architectures.base import Architecture, Network
from layerpar.errors import require_choice

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


class Rows(nn.Module):
    """An image as its rows: (batch, channel, height, width) to (batch, height, channel * width)."""

    def forward(self, images: Tensor) -> Tensor:
        return images.transpose(1, 2).flatten(2)


class Recurrent(nn.Module):
    """One recurrent layer from zero state: (batch, time, feature) to (batch, time, width), contiguous."""

    def __init__(self, inputs: int, width: int, *, cell: str) -> None:
        super().__init__()
        self.cell = CELLS[cell](inputs, width, batch_first=True)
        if cell == "lstm":
            forget = slice(width, 2 * width)
            with torch.no_grad():
                self.cell.bias_ih_l0[forget] = 1
                self.cell.bias_hh_l0[forget] = 0

    def forward(self, sequence: Tensor) -> Tensor:
        if self._is_supported(sequence.device):
            return self.cell(sequence)[0].contiguous()
        with torch.autocast("cpu", enabled=False):
            return self.cell(sequence.float())[0].contiguous()

    def _is_supported(self, device: torch.device) -> bool:
        """Whether torch can: oneDNN has an LSTM in bf16 for some CPUs only; on others it stays in fp32."""
        asked = isinstance(self.cell, nn.LSTM) and device.type == "cpu" and torch.is_autocast_enabled("cpu")
        return not asked or torch.backends.cpu.get_cpu_capability() == "AVX512"


class LastStep(nn.Module):
    """What is known after the last row: (batch, time, feature) to (batch, feature)."""

    def forward(self, sequence: Tensor) -> Tensor:
        return sequence[:, -1]


@dataclass(kw_only=True)
class RNN(Architecture):
    """`depth` recurrent layers over the rows of an image and a linear classifier of the last step.

    `depth + 1` layers to cut between. Weights start uniform within 1 / sqrt(width), torch's default, and an
    LSTM's forget gate open with a bias of 1 (Jozefowicz et al. 2015).

    Attributes:
        depth: Recurrent layers.
        width: Features of each.
        cell: `lstm` or `gru`.
    """

    cell: str

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("architecture.cell", self.cell, CELLS)

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> Network:
        channels, _, width = input_shape
        sizes = [channels * width] + [self.width] * self.depth
        layers: list[nn.Module] = [
            Recurrent(inputs, outputs, cell=self.cell) for inputs, outputs in pairwise(sizes)
        ]
        layers[0] = nn.Sequential(Rows(), layers[0])
        return Network([*layers, nn.Sequential(LastStep(), nn.Linear(self.width, num_classes))])
