"""Networks whose layers all cost the same, for predictions whose outcome is known."""

from __future__ import annotations

import math

import torch

from layerpar.partition.profile import Profile
from layerpar.predict.layers import Layers
from layerpar.predict.links import Link

FREE = Link("free", 0.0, math.inf)


def equal_layers(
    count: int, *, samples: int = 8, head: float = 0.0, update: float = 0.0, features: int = 10
) -> Layers:
    """Forward, and each backward, take a second over `samples` samples."""
    ones = [1.0] * count
    nothing = [0.0] * count
    heads = [head] * (count - 1) + [0.0]
    profile = Profile(ones, ones, ones, [update] * count, nothing, heads, nothing, nothing)
    return Layers(
        times={samples: profile},
        outputs=[torch.zeros(2, features)] * count,
        parameters=[[400, 40]] * count,
        saved=[80.0] * count,
        head_parameters=[44] * count,
        optimizer_state=1.0,
    )
