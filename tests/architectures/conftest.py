"""Every architecture with common weights and images that fit it."""

import pytest
import torch
from families import CLASSES, FAMILIES, SHAPE, configured

from layerpar.architectures.base import Architecture, Network


@pytest.fixture(params=FAMILIES)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    return configured(*FAMILIES[request.param])


@pytest.fixture
def network(architecture: Architecture) -> Network:
    return architecture.create(SHAPE, CLASSES, seed=0)


@pytest.fixture
def images(architecture: Architecture) -> torch.Tensor:
    drawn = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    return drawn.contiguous(memory_format=torch.channels_last) if architecture.channels_last else drawn
