"""From stored pixels to what a network sees."""

import torch
from torch import Tensor


class Normalise:
    """Maps (sample, channel, height, width) uint8 pixels to float32 of mean 0 and deviation 1.

    Args:
        mean: Per channel, of pixels in [0, 1].
        std: Per channel, of pixels in [0, 1].
        device: Where the pixels lie.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> None:
        scale = torch.tensor(std, device=device).view(-1, 1, 1)
        self._gain = 1 / (255 * scale)
        self._offset = torch.tensor(mean, device=device).view(-1, 1, 1) / scale

    def __call__(self, stored: Tensor) -> Tensor:
        return stored.float().mul_(self._gain).sub_(self._offset)


def lay_out(images: Tensor, *, channels_last: bool) -> Tensor:
    """The images in the memory layout that was asked for.

    Comes last: on a CPU every elementwise step per channel is several times slower in channels_last.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return images.contiguous(memory_format=layout)
