"""Pictures of any kind become three channels of bytes; what is no whole picture is never half-read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import encoded, picture, write_folder
from PIL import Image
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


def grey(values: list[int], kind: type) -> np.ndarray:
    return np.array([values], kind)


RGBA = Image.fromarray(np.array([[[200, 10, 30, 255], [200, 10, 30, 0], [0, 0, 0, 51]]], np.uint8))
"""Opaque, transparent, a fifth of black: on a white page the last is 204."""
ON_WHITE = [[200, 10, 30], [255, 255, 255], [204, 204, 204]]

LA = Image.fromarray(np.array([[[200, 255], [200, 0], [0, 51]]], np.uint8))
LA_ON_WHITE = [[200] * 3, [255] * 3, [204] * 3]


def palette(transparent: int | None) -> Image.Image:
    image = Image.frombytes("P", (3, 1), bytes([0, 1, 2]))
    image.putpalette([200, 10, 30, 0, 0, 0, 7, 8, 9])
    if transparent is not None:
        image.info["transparency"] = transparent
    return image


def palette_with_alpha() -> Image.Image:
    image = Image.frombytes("PA", (3, 1), bytes([0, 255, 0, 0, 1, 51]))
    image.putpalette([200, 200, 200, 0, 0, 0])
    return image


def tiff_with_white_as_zero(values: np.ndarray) -> bytes:
    tag, one = (262).to_bytes(2, "little") + b"\x03\x00\x01\x00\x00\x00", b"\x01\x00"
    content = encoded(Image.fromarray(values), "TIFF")
    assert content.count(tag + one) == 1
    return content.replace(tag + one, tag + b"\x00\x00")


SHOWN = {
    "1": (encoded(Image.fromarray(grey([0, 255, 255], np.uint8)).convert("1"), "PNG"), [[0], [255], [255]]),
    "L": (encoded(Image.fromarray(grey([0, 100, 255], np.uint8)), "PNG"), [[0], [100], [255]]),
    "L, transparent": (
        encoded(Image.fromarray(grey([0, 100, 255], np.uint8)), "PNG", transparency=100),
        [[0], [255], [255]],
    ),
    "I;16 as PNG": (
        encoded(Image.fromarray(grey([0, 40_000, 65_535], np.uint16)), "PNG"),
        [[0], [156], [255]],
    ),
    "I;16, transparent": (
        encoded(Image.fromarray(grey([0, 40_000, 65_535], np.uint16)), "PNG", transparency=40_000),
        [[0], [255], [255]],
    ),
    "I;16 as TIFF": (
        encoded(Image.fromarray(grey([0, 40_000, 65_535], np.uint16)), "TIFF"),
        [[0], [156], [255]],
    ),
    "I;16B as TIFF": (
        encoded(Image.frombytes("I;16B", (3, 1), bytes([0, 0, 156, 64, 255, 255])), "TIFF"),
        [[0], [156], [255]],
    ),
    "I;16 as TIFF, 0 is white": (
        tiff_with_white_as_zero(grey([0, 40_000, 65_535], np.uint16)),
        [[255], [99], [0]],
    ),
    "I as PGM of 16 bits": (
        b"P5 3 1 65535\n" + grey([0, 40_000, 65_535], np.uint16).byteswap().tobytes(),
        [[0], [156], [255]],
    ),
    "I as PGM of 10 bits": (
        b"P5 3 1 1023\n" + grey([0, 512, 1023], np.uint16).byteswap().tobytes(),
        [[0], [128], [255]],
    ),
    "LA": (encoded(LA, "PNG"), LA_ON_WHITE),
    "P": (encoded(palette(None), "PNG"), [[200, 10, 30], [0, 0, 0], [7, 8, 9]]),
    "P, transparent": (encoded(palette(1), "PNG"), [[200, 10, 30], [255, 255, 255], [7, 8, 9]]),
    "P as GIF, transparent": (encoded(palette(1), "GIF"), [[200, 10, 30], [255, 255, 255], [7, 8, 9]]),
    "PA": (encoded(palette_with_alpha(), "TIFF"), LA_ON_WHITE),
    "RGB": (encoded(RGBA.convert("RGB"), "PNG"), [[200, 10, 30], [200, 10, 30], [0, 0, 0]]),
    "RGBA as PNG": (encoded(RGBA, "PNG"), ON_WHITE),
    "RGBA as TIFF": (encoded(RGBA, "TIFF"), ON_WHITE),
    "RGBA as WebP": (encoded(RGBA, "WEBP", lossless=True, exact=True), ON_WHITE),
    "CMYK": (
        encoded(Image.frombytes("CMYK", (3, 1), bytes([0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 255])), "TIFF"),
        [[255, 255, 255], [0, 255, 255], [0, 0, 0]],
    ),
    "RGB, stored as YCbCr": (  # compressed: without, Pillow below 13 takes the file for cut short
        encoded(
            Image.frombytes("YCbCr", (3, 1), bytes([0, 128, 128, 100, 128, 128, 255, 128, 128])),
            "TIFF",
            compression="tiff_lzw",
        ),
        [[0], [100], [255]],
    ),
}


@pytest.mark.parametrize("name", SHOWN)
def test_every_pixel_format_is_what_a_viewer_shows_on_a_white_page(name: str) -> None:
    content, expected = SHOWN[name]
    with Image.open(io.BytesIO(content)) as stored:
        assert stored.mode == name.partition(",")[0].partition(" ")[0]
    assert decode(content).permute(1, 2, 0)[0].tolist() == [pixel * (3 // len(pixel)) for pixel in expected]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_without_a_white_are_refused_by_name(mode: str) -> None:
    content = encoded(Image.new(mode, (2, 2), 1), "TIFF")
    with pytest.raises(CorruptPictureError, match=f"pixel format {mode} does not tell which number is white"):
        decode(content)


def test_a_16_bit_picture_is_its_8_bit_one() -> None:
    eight = np.array(picture(6, mode="L"))
    sixteen = eight.astype(np.uint16) << 8
    assert decode(encoded(Image.fromarray(sixteen), "PNG")).equal(
        decode(encoded(Image.fromarray(eight), "PNG"))
    )


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
