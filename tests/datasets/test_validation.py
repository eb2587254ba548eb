"""What is held out of the training set: the same in every mode and for every seed, never trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import published_files
import pytest
import torch
from picture_files import image_folder, spec, write_folder
from torch import Tensor

from layerpar.datasets.augment import UNCHANGED
from layerpar.datasets.base import Batch, Dataset, held_out
from layerpar.datasets.catalogue import SOURCES
from layerpar.datasets.digits import Digits
from layerpar.datasets.synthetic import Synthetic
from layerpar.errors import UserError

KINDS = ("digits", "synthetic", "CIFAR10", "image_folder")


@pytest.fixture(params=KINDS)
def dataset(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """24 training samples of each kind of data set, or 27."""
    name = request.param
    limits = {"name": name, "train_limit": 24, "test_limit": None}
    if name == "digits":
        return Digits(**limits, augment=UNCHANGED)
    if name == "synthetic":
        return Synthetic(**limits, shape=[1, 4, 4], num_classes=3, num_train=99, num_test=9, data_seed=0)
    if name == "CIFAR10":
        monkeypatch.setitem(SOURCES, name, published_files.small(name))
        published_files.write(SOURCES[name], tmp_path)
        published = published_files.dataset(name, tmp_path)
        published.train_limit = 24
        return published
    return image_folder(write_folder(tmp_path), train_limit=24)


def images(batches: Iterable[Batch]) -> Tensor:
    return torch.cat([batch.images for batch in batches if batch.images is not None])


def labels(batches: Iterable[Batch]) -> list[int]:
    return [int(label) for batch in batches for label in batch.labels]


def whole_epochs(dataset: Dataset, *, seed: int = 0) -> Iterator[Batch]:
    """Batches of one sample: nothing is left over."""
    return dataset.loader(spec(1, seed=seed)).train(0)


def test_nothing_is_held_out_unless_asked_for(dataset: Dataset) -> None:
    assert dataset.info().num_validation == 0
    assert dataset.info().num_train == 24
    assert list(dataset.loader(spec()).validation()) == []


@pytest.mark.parametrize(("asked", "count"), [(5, 5), (0.25, 6), (1, 1)])
def test_a_number_or_a_fraction(dataset: Dataset, asked: float, count: int) -> None:
    every = sorted(labels(whole_epochs(dataset)))
    dataset = replace(dataset, validation=asked)
    info, loader = dataset.info(), dataset.loader(spec())
    assert (info.num_train, info.num_validation) == (24 - count, count)
    assert loader.steps_per_epoch == (24 - count) // 8
    assert sorted(labels(whole_epochs(dataset)) + labels(loader.validation())) == every
    assert images(loader.validation()).shape == (count, *info.input_shape)


def test_the_split_is_the_same_for_every_seed_and_share(dataset: Dataset) -> None:
    dataset = replace(dataset, validation=6)
    one, other, blind = (
        dataset.loader(asked)
        for asked in (spec(), spec(4, seed=7, shard=slice(1, 2)), spec(images=False, seed=3))
    )
    assert images(one.validation()).equal(images(other.validation()))
    assert labels(blind.validation()) == labels(one.validation())
    assert all(batch.images is None for batch in blind.validation())
    assert images(one.test()).equal(images(other.test()))


def test_what_is_held_out_is_never_trained_on() -> None:
    data = Synthetic(
        name="x",
        train_limit=None,
        test_limit=None,
        validation=40,
        shape=[1, 4, 4],
        num_classes=2,
        num_train=100,
        num_test=9,
        data_seed=0,
    )
    loader = data.loader(spec(1))
    trained = {image.numpy().tobytes() for epoch in range(3) for image in images(loader.train(epoch))}
    held = {image.numpy().tobytes() for image in images(loader.validation())}
    assert (len(trained), len(held)) == (60, 40)
    assert not trained & held


def test_indices_are_places_in_the_remaining_training_set(dataset: Dataset) -> None:
    dataset = replace(dataset, validation=6)
    loader = dataset.loader(spec(1))
    assert sorted(int(batch.indices) for batch in loader.train(0)) == list(range(18))
    assert [int(index) for batch in loader.validation() for index in batch.indices] == list(range(6))


def test_both_parts_keep_their_order() -> None:
    trained, held = held_out(20, 6)
    assert trained.equal(trained.sort().values)
    assert held.equal(held.sort().values)
    assert sorted([*trained.tolist(), *held.tolist()]) == list(range(20))


@pytest.mark.parametrize("asked", [-1, 1.5, float("nan"), float("inf")])
def test_neither_a_number_nor_a_fraction(asked: float) -> None:
    with pytest.raises(UserError, match=r"dataset\.validation=.* try dataset\.validation=0\.1"):
        Digits(name="digits", train_limit=None, test_limit=None, validation=asked, augment=UNCHANGED)


@pytest.mark.parametrize("asked", [24, 99, 0.01, 0.99])
def test_some_are_left_and_some_held_out(dataset: Dataset, asked: float) -> None:
    dataset = replace(dataset, validation=asked)
    with pytest.raises(UserError, match=r"of 24 training samples out; try dataset\.validation=0\.1"):
        dataset.info()
