"""The work of `scripts/benchmark overhead`, in PyTorch alone: the same sizes, data selection and updates."""

from __future__ import annotations

import torch
from torch import nn

WARMUP = 5
STEPS = {"mlp": 60, "cnn": 30}
BATCH = {"mlp": 256, "cnn": 128}
SHAPE = {"mlp": (1, 32, 32), "cnn": (3, 32, 32)}


class Residual(nn.Module):
    """The basic block of He et al. 2016."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.stride, self.missing = stride, outputs - inputs

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        skip = images[:, :, :: self.stride, :: self.stride]
        skip = nn.functional.pad(skip, (0, 0, 0, 0, self.missing // 2, self.missing - self.missing // 2))
        return (self.body(images) + skip).relu()


def network(work: str) -> nn.Module:
    """The network that `WORKS[work]` of main.py describes."""
    if work == "mlp":
        layers = [nn.Flatten()]
        for _ in range(8):
            layers += [nn.Linear(1024, 1024), nn.LayerNorm(1024), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(1024, 10))
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    sizes = [(16, 16, 1)] * 5 + [(16, 32, 2)] + [(32, 32, 1)] * 4 + [(32, 64, 2)] + [(64, 64, 1)] * 4
    blocks = [Residual(*size) for size in sizes]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def data(work: str, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random bytes and labels."""
    images = torch.randint(0, 256, (samples, *SHAPE[work]), dtype=torch.uint8)
    if work == "cnn":
        images = images.contiguous(memory_format=torch.channels_last)
    return images, torch.randint(0, 10, (samples,))


def prepared(model: nn.Module, work: str) -> nn.Module:
    """channels_last for convolutions, as our network is."""
    return model.to(memory_format=torch.channels_last) if work == "cnn" else model


def optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """The same update as ours."""
    return torch.optim.SGD(
        model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True
    )
