"""Pictures of any kind become three channels of bytes; what is no whole picture is never half-read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import encoded, picture, write_folder
from torch import Tensor

from layerpar.datasets.decode import CorruptPictureError, Decoder, decode
from layerpar.datasets.pictures import Pictures, class_folders, list_pictures
from layerpar.seeds import stream_seed

BASELINE = encoded(picture(1))
PROGRESSIVE = encoded(picture(1, width=200, height=200), progressive=True)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpegs_of_every_colour_space(mode: str) -> None:
    image = picture(3, mode=mode)
    decoded = decode(encoded(image, quality=100, subsampling=0))
    assert decoded.dtype == torch.uint8
    assert decoded.shape == (3, 14, 20)
    expected = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    assert (decoded.int() - expected.int()).abs().max() <= 6


def test_grey_becomes_three_equal_channels() -> None:
    decoded = decode(encoded(picture(2, mode="L")))
    assert decoded[0].equal(decoded[1])
    assert decoded[0].equal(decoded[2])


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF"])
def test_other_formats(format: str) -> None:
    decoded = decode(encoded(picture(4), format))
    expected = torch.from_numpy(np.array(picture(4))).permute(2, 0, 1)
    assert (decoded.int() - expected.int()).abs().float().mean() < 8


def test_a_png_that_is_called_jpeg_and_has_a_palette() -> None:
    assert decode(encoded(picture(5).convert("P"), "PNG", transparency=0)).shape == (3, 14, 20)


@settings(max_examples=60)
@given(content=st.sampled_from([BASELINE, PROGRESSIVE]), share=st.floats(0, 1))
def test_a_jpeg_cut_anywhere_is_corrupt(content: bytes, share: float) -> None:
    with pytest.raises(CorruptPictureError):
        decode(content[: int(share * (len(content) - 1))])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a picture"),
        (b"<html>404</html>", "not a picture"),
        (BASELINE[:40], "cut short"),
        (encoded(picture(1, width=200, height=200), "PNG")[:300], "truncated"),
    ],
)
def test_the_reason_is_one_line(content: bytes, reason: str) -> None:
    with pytest.raises(CorruptPictureError, match=reason) as caught:
        decode(content)
    assert "\n" not in str(caught.value)


def mirrored_or_not(pixels: Tensor) -> Tensor:
    """A transform that draws."""
    return (pixels.flip(2) if torch.rand(()) < 0.5 else pixels)[:, :8, :8]


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    root = write_folder(tmp_path)
    return list_pictures(root / "train", class_folders(root / "train"))


def test_what_is_drawn_follows_from_seed_epoch_and_picture(pictures: Pictures) -> None:
    decoder = Decoder(pictures, mirrored_or_not, size=8, seed=1)
    batch, _ = decoder[(0, [3, 5, 7])]
    again, _ = decoder[(0, [7, 3])]
    assert batch[[2, 0]].equal(again)
    draws = {
        (seed, epoch): decoder_pixels(pictures, seed, epoch) for seed in (0, 1, 2**32) for epoch in (0, 1, 2)
    }
    assert len({pixels.numpy().tobytes() for pixels in draws.values()}) == len(draws)
    torch.manual_seed(stream_seed(1, 0, 3))
    assert batch[0].equal(mirrored_or_not(decode(pictures.path(3).read_bytes())))


def decoder_pixels(pictures: Pictures, seed: int, epoch: int) -> Tensor:
    return Decoder(pictures, mirrored_or_not, size=8, seed=seed)[(epoch, list(range(24)))][0]


def test_the_global_generator_stays_as_it_was(pictures: Pictures) -> None:
    torch.manual_seed(5)
    untouched = torch.rand(3)
    torch.manual_seed(5)
    assert len(Decoder(pictures, mirrored_or_not, size=8, seed=0)[(0, [0, 1])][0]) == 2
    assert torch.rand(3).equal(untouched)


def plain(pixels: Tensor) -> Tensor:
    return pixels[:, :8, :8]


def test_the_next_readable_picture_of_the_class_stands_in(pictures: Pictures) -> None:
    decoder = Decoder(pictures, plain, size=8, seed=0)
    whole, none = decoder[(0, list(range(8)))]
    assert none == {}
    spoilt = [pictures.path(index) for index in (2, 3, 7)]
    for path in spoilt:
        path.write_bytes(b"spoilt")
    batch, unreadable = decoder[(0, list(range(8)))]
    assert unreadable == {str(path): "not a picture" for path in spoilt}
    assert batch.equal(whole[[0, 1, 4, 4, 4, 5, 6, 0]])


def test_a_class_without_a_readable_picture_stays_black(pictures: Pictures) -> None:
    for index in range(8):
        pictures.path(index).write_bytes(b"")
    batch, unreadable = Decoder(pictures, plain, size=8, seed=0)[(0, [1, 9])]
    assert len(unreadable) == 8
    assert not batch[0].any()
    assert batch[1].any()


def test_a_file_that_vanished_counts_as_unreadable(pictures: Pictures) -> None:
    pictures.path(0).unlink()
    _, unreadable = Decoder(pictures, plain, size=8, seed=0)[(0, [0])]
    assert "No such file" in unreadable[str(pictures.path(0))]
