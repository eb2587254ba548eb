"""Augmentation moves pixels as drawn, and what is drawn follows from the key alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import v2

from layerpar.datasets.augment import Augment, Draws, crop_and_mirror, cut_out
from layerpar.errors import UserError
from layerpar.seeds import stream


def drawn(offset: tuple[int, int] = (0, 0), mirrored: int = 0) -> Draws:
    return Draws(torch.tensor([offset]), torch.tensor([mirrored]), torch.zeros(1, 2).long())


def picture(text: str) -> Tensor:
    """One grey image from rows of digits."""
    rows = [[int(digit) for digit in line] for line in text.split()]
    return torch.tensor(rows, dtype=torch.uint8)[None, None]


def shown(images: Tensor) -> list[str]:
    return [" ".join("".join(str(int(value)) for value in row) for row in image) for image in images[:, 0]]


PICTURE = picture("123 456 789")


@pytest.mark.parametrize(
    ("offset", "mirrored", "expected"),
    [
        ((1, 1), 0, "123 456 789"),
        ((1, 1), 1, "321 654 987"),
        ((0, 0), 0, "000 012 045"),
        ((2, 2), 0, "560 890 000"),
        ((1, 2), 0, "230 560 890"),
        ((1, 2), 1, "032 065 098"),
    ],
)
def test_a_crop_of_the_padded_image_then_mirrored(
    offset: tuple[int, int], mirrored: int, expected: str
) -> None:
    assert shown(crop_and_mirror(PICTURE, drawn(offset, mirrored), pad=1)) == [expected]


@pytest.mark.parametrize(
    ("centre", "side", "expected"),
    [
        ((1, 1), 1, "123 406 789"),
        ((1, 1), 2, "003 006 789"),
        ((1, 1), 3, "000 000 000"),
        ((0, 0), 3, "003 006 789"),
        ((2, 2), 3, "123 400 700"),
    ],
)
def test_a_square_hole_clipped_at_the_border(centre: tuple[int, int], side: int, expected: str) -> None:
    assert shown(cut_out(PICTURE.float(), torch.tensor([centre]), side=side)) == [expected]


@given(
    samples=st.integers(1, 5),
    channels=st.integers(1, 3),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    pad=st.integers(0, 3),
    key=st.integers(0, 1000),
)
def test_equals_torchvision_sample_by_sample(
    samples: int, channels: int, height: int, width: int, pad: int, key: int
) -> None:
    images = torch.randint(
        0, 256, (samples, channels, height, width), dtype=torch.uint8, generator=stream(key)
    )
    draws = Augment(pad=pad, flip=True, cutout=0).draw(samples, height, width, stream(key))
    cropped = crop_and_mirror(images, draws, pad=pad)
    for image, offset, mirrored, result in zip(images, draws.offset, draws.mirrored, cropped, strict=True):
        top, left = offset.tolist()
        expected = v2.functional.crop(v2.functional.pad(image, [pad]), top, left, height, width)
        assert result.equal(v2.functional.horizontal_flip(expected) if mirrored else expected)


@given(pad=st.integers(0, 4), cutout=st.integers(0, 9), key=st.integers(0, 1000))
def test_draws_stay_in_range_and_follow_from_the_key(pad: int, cutout: int, key: int) -> None:
    augment = Augment(pad=pad, flip=True, cutout=cutout)
    draws = augment.draw(50, 6, 9, stream(key))
    again = augment.draw(50, 6, 9, stream(key))
    for one, other in zip(vars(draws).values(), vars(again).values(), strict=True):
        assert one.equal(other)
    assert draws.offset.min() >= 0
    assert draws.offset.max() <= 2 * pad
    assert draws.centre.min() >= 0
    assert (draws.centre < torch.tensor([6, 9])).all()


def test_every_crop_and_both_directions_occur() -> None:
    draws = Augment(pad=1, flip=True, cutout=0).draw(500, 4, 4, stream(0))
    assert len({tuple(offset) for offset in draws.offset.tolist()}) == 9
    assert 200 < int(draws.mirrored.sum()) < 300


def test_one_variation_leaves_the_draws_of_another_alone() -> None:
    plain = Augment(pad=4, flip=False, cutout=0).draw(20, 8, 8, stream(1))
    every = Augment(pad=4, flip=True, cutout=8).draw(20, 8, 8, stream(1))
    assert plain.offset.equal(every.offset)
    assert plain.centre.equal(every.centre)
    assert not plain.mirrored.any()


@pytest.mark.parametrize("key", ["pad", "cutout"])
def test_negative_sizes_are_refused(key: str) -> None:
    with pytest.raises(UserError, match=rf"dataset\.augment\.{key}=-1 .* try dataset\.augment\.{key}=0"):
        Augment(**({"pad": 0, "flip": False, "cutout": 0} | {key: -1}))
