"""Similarity matching: activations of one class shall be alike, of two classes unlike.

Nøkland & Eidnes 2019 (arXiv 1901.06656), equations 1 to 3: the similarity of two samples is the cosine of
their centred features, and a block is trained towards the similarities of the labels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def projection(activation_shape: tuple[int, ...]) -> nn.Module:
    """What activations go through before they are compared: the block itself need not separate classes.

    A 3 x 3 convolution of feature maps (channel, height, width), a linear map of the features of sequences
    (time, feature) and vectors (feature,); shapes stay the same. Costs as much as a convolution of the block.
    """
    if len(activation_shape) == 3:
        channels = activation_shape[0]
        return nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    return nn.Linear(activation_shape[-1], activation_shape[-1], bias=False)


class HeadAndProjection(nn.Module):
    """All that a block has beside its layers as one module, which takes as long and is as large as the two.

    Args:
        head: Gives logits, (batch, class).
        projection: See `projection`.
    """

    def __init__(self, head: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.projection = projection

    def forward(self, activations: Tensor) -> Tensor:
        """Logits and projected activations side by side, (batch, number)."""
        return torch.cat([self.head(activations), self.projection(activations).flatten(1)], 1)


def similarity_loss(activations: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Mean squared difference between the similarities of activations and those of their one-hot labels.

    Feature maps count by each channel's deviation over positions, sequences by each feature's deviation over
    time, as in the authors' code; one position alone counts as it is. It computes in
    fp32 where it is called outside of autocast.

    Args:
        activations: (batch, channel, height, width), (batch, time, feature) or (batch, feature), projected.
        labels: (batch,), int64.
        num_classes: At least 2.
    """
    features = _features(activations.float())
    unit = F.normalize(features - features.mean(1, keepdim=True), dim=1, eps=1e-8)
    same_class = labels[:, None] == labels
    # Two centred one-hot vectors of different classes have the cosine -1 / (classes - 1).
    target = torch.where(same_class, 1.0, -1 / (num_classes - 1))
    return F.mse_loss(unit @ unit.T, target)


def _features(activations: Tensor) -> Tensor:
    """One vector per sample: (batch, feature)."""
    if activations.dim() == 2:
        return activations
    positions = activations.flatten(2) if activations.dim() == 4 else activations.transpose(1, 2)
    return positions.std(2) if positions.shape[2] > 1 else positions.flatten(1)
