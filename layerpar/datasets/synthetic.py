"""Random images of any shape: for timing, where what is learned does not matter."""

from dataclasses import dataclass

import torch

from layerpar.datasets.base import DatasetInfo, Loader, LoaderSpec, limited
from layerpar.datasets.memory import MemoryDataset, Pixels, Samples
from layerpar.errors import require, require_at_least
from layerpar.seeds import check_seed

DRAWN_AT_ONCE = 64
"""Samples: the numbers that are drawn take 24 times the memory of the bytes that are kept."""


@dataclass(kw_only=True)
class Synthetic(MemoryDataset):
    """Each class is a random pattern, each sample its class's pattern under noise.

    Attributes:
        shape: Channels, height, width.
        num_classes: Different labels.
        num_train: Training samples.
        num_test: Test samples.
        data_seed: Draws patterns, noise and labels; apart from the run's seed, so that seeds share the data.
    """

    shape: list[int]
    num_classes: int
    num_train: int
    num_test: int
    data_seed: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seed("dataset.data_seed", self.data_seed)
        sane = len(self.shape) == 3 and min(self.shape) >= 1
        require(
            sane, f"dataset.shape={self.shape} is not [channels, height, width]; try dataset.shape=[3,32,32]"
        )
        for key in ("num_classes", "num_train", "num_test"):
            require_at_least(f"dataset.{key}", getattr(self, key), 1)

    @property
    def pixels(self) -> Pixels:
        channels, height, width = self.shape
        return Pixels((channels, height, width), mean=(0.5,) * channels, std=(0.2,) * channels)

    def info(self) -> DatasetInfo:
        train, test = limited(self.num_train, self.train_limit), limited(self.num_test, self.test_limit)
        held = self.num_validation(train)
        return DatasetInfo(self.pixels.shape, self.num_classes, train - held, test, held)

    def loader(self, spec: LoaderSpec) -> Loader:
        info = self.info()
        generator = torch.Generator().manual_seed(self.data_seed)
        patterns = torch.randint(0, 256, (self.num_classes, *self.shape), generator=generator)
        num_train = info.num_train + info.num_validation
        labels = torch.randint(0, self.num_classes, (num_train + info.num_test,), generator=generator)
        images = torch.empty((len(labels), *self.shape), dtype=torch.uint8)
        for some, of_class in zip(images.split(DRAWN_AT_ONCE), labels.split(DRAWN_AT_ONCE), strict=True):
            noise = torch.randint(0, 256, some.shape, generator=generator)
            some.copy_((patterns[of_class] + noise) // 2)
        train, test = (
            Samples(images[part], labels[part]) for part in (slice(num_train), slice(num_train, None))
        )
        return self.serve(train, test, spec, validation=info.num_validation)
