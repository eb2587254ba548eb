"""Random crops, mirror images and holes, batched on the device; what is drawn is drawn on the CPU.

Parameters are drawn for a whole epoch at once, one set for each place in its order. So a sample's pixels
follow from (seed, epoch, step, place in the global batch), however many workers share the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layerpar.errors import require_at_least


@dataclass(frozen=True)
class Draws:
    """What was drawn for some samples; every tensor is int64.

    Attributes:
        offset: (sample, 2), row and column of the crop's corner in the padded image.
        mirrored: (sample,), 1 where left and right change places.
        centre: (sample, 2), row and column of the hole's centre.
    """

    offset: Tensor
    mirrored: Tensor
    centre: Tensor

    def __getitem__(self, chosen: slice) -> Draws:
        return Draws(self.offset[chosen], self.mirrored[chosen], self.centre[chosen])

    def to(self, device: torch.device) -> Draws:
        return Draws(self.offset.to(device), self.mirrored.to(device), self.centre.to(device))


@dataclass(kw_only=True)
class Augment:
    """How training images are varied; all zero or false for not at all.

    Attributes:
        pad: Pixels of black added on each side before an image of the old size is cropped at random.
        flip: Swap left and right in half of the images.
        cutout: Side in pixels of a square hole of the mean colour, clipped at the border (DeVries & Taylor
            2017, arXiv 1708.04552).
    """

    pad: int
    flip: bool
    cutout: int

    def __post_init__(self) -> None:
        require_at_least("dataset.augment.pad", self.pad, 0)
        require_at_least("dataset.augment.cutout", self.cutout, 0)

    def draw(self, num_samples: int, height: int, width: int, generator: torch.Generator) -> Draws:
        """Parameters for so many samples. Switching one variation off leaves the others' draws alone."""
        offset = torch.randint(0, 2 * self.pad + 1, (num_samples, 2), generator=generator)
        mirrored = torch.randint(0, 2, (num_samples,), generator=generator)
        rows = torch.randint(0, height, (num_samples,), generator=generator)
        columns = torch.randint(0, width, (num_samples,), generator=generator)
        return Draws(offset, mirrored * self.flip, torch.stack((rows, columns), dim=1))


UNCHANGED = Augment(pad=0, flip=False, cutout=0)


def crop_and_mirror(images: Tensor, draws: Draws, *, pad: int) -> Tensor:
    """Pad with zeros, crop to the old size at each offset, mirror where drawn: one gather for all samples."""
    samples, channels, height, width = images.shape
    padded = torch.nn.functional.pad(images, (pad, pad, pad, pad))
    rows = torch.arange(height, device=images.device) + draws.offset[:, :1]
    columns = torch.arange(width, device=images.device).expand(samples, -1)
    columns = torch.where(draws.mirrored[:, None] == 1, width - 1 - columns, columns) + draws.offset[:, 1:]
    pixels = rows[:, :, None] * padded.shape[3] + columns[:, None, :]
    chosen = pixels.view(samples, 1, height * width).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, chosen).view_as(images)


def cut_out(images: Tensor, centre: Tensor, *, side: int) -> Tensor:
    """Set a `side` x `side` square around each sample's `centre` to zero, in place."""
    inside = []
    for axis, length in enumerate(images.shape[2:]):
        distance = torch.arange(length, device=images.device) - centre[:, axis : axis + 1] + side // 2
        inside.append((distance >= 0) & (distance < side))
    return images.mul_(~(inside[0][:, None, :, None] & inside[1][:, None, None, :]))
