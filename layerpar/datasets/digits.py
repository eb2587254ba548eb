"""The 1,797 handwritten digits that scikit-learn carries: real data without a download."""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch

from layerpar.datasets.augment import Augment
from layerpar.datasets.base import DatasetInfo, Loader, LoaderSpec, limited
from layerpar.datasets.memory import MemoryDataset, Pixels, Samples

NUM_TRAIN, NUM_TEST = 1437, 360


@dataclass(kw_only=True)
class Digits(MemoryDataset):
    """8 x 8 grey images of ten digits (Alpaydin & Kaynak 1998), one fixed stratified split.

    Attributes:
        augment: How training images are varied.
    """

    slow_imports: ClassVar[tuple[str, ...]] = ("sklearn.datasets", "sklearn.model_selection")

    augment: Augment

    @property
    def pixels(self) -> Pixels:
        return Pixels((1, 8, 8), mean=(0.305,), std=(0.376,))

    @property
    def variation(self) -> Augment:
        return self.augment

    def info(self) -> DatasetInfo:
        train, test = limited(NUM_TRAIN, self.train_limit), limited(NUM_TEST, self.test_limit)
        held = self.num_validation(train)
        return DatasetInfo(self.pixels.shape, 10, train - held, test, held)

    def loader(self, spec: LoaderSpec) -> Loader:
        train, test = _read()
        info = self.info()
        return self.serve(
            train.first(info.num_train + info.num_validation),
            test.first(info.num_test),
            spec,
            validation=info.num_validation,
        )


@cache
def _read() -> tuple[Samples, Samples]:
    """All training and all test images."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    split = train_test_split(pixels, labels, test_size=NUM_TEST, random_state=0, stratify=labels)
    images = [torch.from_numpy(part * (255 / 16)).byte().view(-1, 1, 8, 8) for part in split[:2]]
    targets = [torch.from_numpy(part).long() for part in split[2:]]
    return Samples(images[0], targets[0]), Samples(images[1], targets[1])
