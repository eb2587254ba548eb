"""From picture files to the pixels of a batch, the same in whatever process that happens."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional

from layerpar.datasets.pictures import Pictures
from layerpar.seeds import stream_seed

Job = tuple[int, list[int]]
"""The epoch, and which pictures the batch consists of."""

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"


SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
WITHOUT_WHITE = ("I", "F", *SIXTEEN_BITS)
"""Pixel formats of Pillow whose numbers alone do not tell what is white; it clips them at 255."""

PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
"""A TIFF tag, and its value where 0 is white."""


class CorruptPictureError(Exception):
    """A file does not hold a whole picture, or one of which it is not known what it looks like."""


def decode(content: bytes) -> Tensor:
    """(3, height, width) uint8 pixels, as a viewer shows them on a white page.

    A grey picture gets three equal channels; of 16 bits the upper 8 count; the colour space of a profile and
    the orientation that a camera notes are left alone, as by torchvision.

    Raises:
        CorruptPictureError: it is no picture, is cut short, or has a pixel format without a known white.
    """
    # libjpeg fills up a progressive JPEG that is cut short without a complaint.
    if content.startswith(JPEG_START) and JPEG_END not in content:
        raise CorruptPictureError("JPEG is cut short")
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(content)) as picture:
            warnings.simplefilter("ignore")
            return functional.pil_to_tensor(_as_shown(picture))
    except Exception as error:
        reason = "not a picture" if isinstance(error, UnidentifiedImageError) else str(error)
        raise CorruptPictureError(" ".join(reason.split())) from error


def _as_shown(picture: Image.Image) -> Image.Image:
    """The picture in 8-bit RGB."""
    is_grey16 = picture.mode in SIXTEEN_BITS or (picture.mode == "I" and picture.format in ("PNG", "PPM"))
    if is_grey16:
        picture = _grey_from_16_bits(picture)
    if picture.mode in WITHOUT_WHITE:
        raise CorruptPictureError(f"its pixel format {picture.mode} does not tell which number is white")
    if picture.has_transparency_data:
        seen = picture.convert("RGBA")
        page = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(page, seen).convert("RGB")
    return picture.convert("RGB")


def _grey_from_16_bits(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture).astype(np.uint16)
    if getattr(picture, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:
        values = 65535 - values
    shown = (values >> 8).astype(np.uint8)
    if "transparency" in picture.info:
        shown[values == picture.info["transparency"]] = 255
    return Image.fromarray(shown)


class Decoder(torch.utils.data.Dataset[tuple[Tensor, dict[str, str]]]):
    """Decodes and transforms the pictures of one batch; runs in the decode workers.

    Args:
        pictures: The split.
        transform: Maps (3, height, width) uint8 pixels to a sample; draws from torch's global generator.
        size: Height and width of a sample.
        seed: What `transform` draws follows from it, the epoch and the picture.
    """

    def __init__(
        self, pictures: Pictures, transform: Callable[[Tensor], Tensor], *, size: int, seed: int
    ) -> None:
        self._pictures = pictures
        self._transform = transform
        self._size = size
        self._seed = seed

    def __getitem__(self, job: Job) -> tuple[Tensor, dict[str, str]]:
        """The batch, (sample, 3, size, size) uint8, and the files that could not be read, with the reasons.

        The next readable picture of its class takes the place of one that cannot be read, so that workers
        which never decode know the labels all the same. A sample of a class without any stays black.
        """
        epoch, chosen = job
        batch = torch.zeros(len(chosen), 3, self._size, self._size, dtype=torch.uint8)
        unreadable: dict[str, str] = {}
        for sample, index in zip(batch, chosen, strict=True):
            picture = self._read(index, unreadable)
            if picture is not None:
                with _drawing_from(stream_seed(self._seed, epoch, index)):
                    sample.copy_(self._transform(picture))
        return batch, unreadable

    def _read(self, index: int, unreadable: dict[str, str]) -> Tensor | None:
        for candidate in self._candidates(index):
            path = self._pictures.path(candidate)
            try:
                return decode(path.read_bytes())
            except (CorruptPictureError, OSError) as error:
                unreadable[str(path)] = str(error)
        return None

    def _candidates(self, index: int) -> Iterator[int]:
        yield index
        labels = self._pictures.labels
        same = (labels == labels[index]).nonzero().flatten().tolist()
        place = same.index(index)
        yield from same[place + 1 :] + same[:place]


@contextmanager
def _drawing_from(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator and put it back as it was; `torch.manual_seed` takes 0.1 ms."""
    generator = torch.default_generator
    before = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(before)
