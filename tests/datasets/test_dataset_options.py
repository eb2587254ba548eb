"""The options of `dataset=` as their YAML files give them."""

from __future__ import annotations

import pytest
from tiny import composed

from layerpar.datasets.base import Dataset
from layerpar.paths import config_directory

NAMES = sorted(path.stem for path in (config_directory() / "dataset").glob("*.yaml"))


def option(name: str, *overrides: str) -> Dataset:
    return composed(f"dataset={name}", *overrides).dataset


def test_the_data_sets_of_the_study_are_all_there() -> None:
    study = "cifar10 cifar100 digits fashion_mnist image_folder imagenet mnist synthetic"
    assert set(study.split()) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_called_by_its_file_and_takes_limits(name: str) -> None:
    dataset = option(name, "dataset.train_limit=7", "dataset.test_limit=3")
    assert dataset.name == name
    assert (dataset.train_limit, dataset.test_limit) == (7, 3)


@pytest.mark.parametrize(
    ("name", "pad", "flip"),
    [
        ("digits", 0, False),
        ("mnist", 0, False),
        ("fashion_mnist", 0, False),
        ("cifar10", 4, True),
        ("cifar100", 4, True),
    ],
)
def test_only_cifar_is_varied_unless_asked_for(name: str, pad: int, flip: bool) -> None:
    augment = option(name).augment  # type: ignore[attr-defined]
    assert (augment.pad, augment.flip, augment.cutout) == (pad, flip, 0)
    asked = option(name, "dataset.augment.cutout=5").augment  # type: ignore[attr-defined]
    assert asked.cutout == 5
