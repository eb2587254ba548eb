"""Small vision transformers (Dosovitskiy et al. 2021, arXiv 2010.11929)."""

from collections import OrderedDict
from dataclasses import dataclass
from math import gcd, sqrt
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layerpar.architectures.base import Architecture, Network
from layerpar.errors import require, require_at_least

MLP_RATIO = 4


class PatchEmbedding(nn.Module):
    """Patches as tokens with a position: (batch, channel, height, width) to (batch, patch, width)."""

    def __init__(self, channels: int, width: int, *, patch_size: int, num_patches: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, width, patch_size, stride=patch_size)
        self.position = nn.Parameter(torch.empty(num_patches, width))
        nn.init.trunc_normal_(self.project.weight, std=1 / sqrt(channels * patch_size**2))
        nn.init.zeros_(self.project.get_parameter("bias"))
        nn.init.normal_(self.position, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        return self.project(images).flatten(2).transpose(1, 2).contiguous() + self.position


class TransformerBlock(nn.Module):
    """Self-attention and a two-layer MLP, each behind a norm and beside a shortcut.

    Not `nn.TransformerEncoderLayer`, which evaluates on another path, in another precision under autocast,
    than it trains on: whoever receives activations could not rely on their type.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, MLP_RATIO * width), nn.GELU(), nn.Linear(MLP_RATIO * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        attended = tokens + self.merge(self._attention(self.norm1(tokens)))
        return attended + self.mlp(self.norm2(attended))

    def _attention(self, tokens: Tensor) -> Tensor:
        split = self.queries_keys_values(tokens).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each (batch, head, token, feature)
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


class MeanToken(nn.Module):
    """The mean over tokens: (batch, token, feature) to (batch, feature)."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1)


@dataclass(kw_only=True)
class ViT(Architecture):
    """`depth` pre-norm transformer blocks between a patch embedding and a classifier: `depth + 2` layers.

    The classifier normalises, takes the mean over tokens (there is no class token, so that every block's
    activation means the same to a head) and maps linearly. No dropout. Weights start as in the paper's code:
    Xavier uniform, biases zero, patches with unit gain, positions with deviation 0.02.

    Attributes:
        depth: Transformer blocks.
        width: Features of a token.
        num_heads: Attention heads; must divide `width`.
        patch_size: Side of a patch in pixels; must divide the image's sides.
    """

    channels_last: ClassVar[bool] = True

    num_heads: int
    patch_size: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least("architecture.num_heads", self.num_heads, 1)
        require_at_least("architecture.patch_size", self.patch_size, 1)
        require(
            self.width % self.num_heads == 0,
            f"architecture.num_heads={self.num_heads} does not divide architecture.width={self.width}; "
            f"try architecture.num_heads={gcd(self.num_heads, self.width)}",
        )

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> Network:
        channels, height, width = input_shape
        patch = self.patch_size
        sides = gcd(height, width)
        fitting = max(size for size in range(1, min(patch, sides) + 1) if sides % size == 0)
        require(
            fitting == patch,
            f"architecture.patch_size={patch} does not divide {height} x {width}; "
            f"try architecture.patch_size={fitting}",
        )
        num_patches = (height // patch) * (width // patch)
        embedding = PatchEmbedding(channels, self.width, patch_size=patch, num_patches=num_patches)
        head = nn.Sequential(
            OrderedDict(
                norm=nn.LayerNorm(self.width), pool=MeanToken(), linear=nn.Linear(self.width, num_classes)
            )
        )
        blocks = [_xavier(TransformerBlock(self.width, self.num_heads)) for _ in range(self.depth)]
        return Network([embedding, *blocks, _xavier(head)])


def _xavier(module: nn.Module) -> nn.Module:
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)
    return module
