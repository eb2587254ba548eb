"""Small sets: the whole data set lies on the worker's device as one uint8 tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from layerpar.datasets.augment import UNCHANGED, Augment, Draws, crop_and_mirror, cut_out
from layerpar.datasets.base import Batch, Dataset, Loader, LoaderSpec, epoch_order, held_out
from layerpar.datasets.normalise import Normalise, lay_out
from layerpar.seeds import stream

TEST_BATCH = 1000
AUGMENTATION = 1
"""Sets the stream of the augmentation apart from that of the sample order."""


@dataclass(frozen=True)
class Pixels:
    """What images look like: channels, height and width; mean and deviation of each channel in [0, 1]."""

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Samples:
    """Images as stored, (sample, channel, height, width) uint8, and their labels, (sample,) int64."""

    images: Tensor
    labels: Tensor

    def first(self, count: int) -> Samples:
        """The first so many of them."""
        return Samples(self.images[:count], self.labels[:count])

    @staticmethod
    def blank(count: int, shape: tuple[int, int, int]) -> Samples:
        """So many black images of a shape, all of the first class."""
        return Samples(torch.zeros(count, *shape, dtype=torch.uint8), torch.zeros(count, dtype=torch.int64))

    def split(self, count: int) -> tuple[Samples, Samples]:
        """Those to train on, and `count` that are held out."""
        if count == 0:
            return self, self.first(0)
        parts = held_out(len(self.labels), count)
        trained, held = (Samples(self.images[part], self.labels[part]) for part in parts)
        return trained, held


@dataclass(kw_only=True)
class MemoryDataset(Dataset):
    """A data set whose samples lie in memory. A subclass says what they look like, and reads them."""

    @property
    def pixels(self) -> Pixels:
        """Of its images."""
        raise NotImplementedError

    @property
    def variation(self) -> Augment:
        """How training images are varied."""
        return UNCHANGED

    @property
    def is_random(self) -> bool:
        return self.variation != UNCHANGED

    def serve(self, train: Samples, test: Samples, spec: LoaderSpec, *, validation: int = 0) -> Loader:
        """Serve these samples, so many of the first held out, as `spec` says."""
        return MemoryLoader(
            train,
            test,
            validation=validation,
            mean=self.pixels.mean,
            std=self.pixels.std,
            spec=spec,
            augment=self.variation,
        )

    def blank_loader(self, spec: LoaderSpec) -> Loader:
        samples = Samples.blank(2 * spec.batch_size, self.pixels.shape)
        return self.serve(samples, samples.first(0), spec)


class MemoryLoader:
    """Serves samples that fit into memory; selecting, varying and normalising run batched on the device.

    Args:
        train: Training samples, with those that are held out.
        test: Test samples.
        validation: How many are held out.
        mean: Per channel, of pixels in [0, 1].
        std: Per channel, of pixels in [0, 1].
        spec: What this worker wants.
        augment: How training images are varied.
    """

    def __init__(
        self,
        train: Samples,
        test: Samples,
        *,
        validation: int = 0,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        spec: LoaderSpec,
        augment: Augment = UNCHANGED,
    ) -> None:
        self._spec = spec
        trained, held = train.split(validation)
        self._train, self._validation, self._test = (self._place(part) for part in (trained, held, test))
        self._normalise = Normalise(mean, std, spec.device)
        self._augment = augment
        self.steps_per_epoch = len(trained.labels) // spec.batch_size

    def train(self, epoch: int, steps: range | None = None) -> Iterator[Batch]:
        order = epoch_order(len(self._train.labels), seed=self._spec.seed, epoch=epoch)
        on_device = order.to(self._spec.device)
        draws = self._draw(epoch) if self._spec.images else None
        for step in range(self.steps_per_epoch) if steps is None else steps:
            first = step * self._spec.batch_size
            batch = slice(first, first + self._spec.batch_size)
            own = None if draws is None else draws[batch][self._spec.shard]
            chosen, indices = (places[batch][self._spec.shard] for places in (on_device, order))
            yield self._batch(self._train, chosen, indices, own)

    def validation(self) -> Iterator[Batch]:
        return self._in_order(self._validation)

    def test(self) -> Iterator[Batch]:
        return self._in_order(self._test)

    def _in_order(self, samples: Samples) -> Iterator[Batch]:
        for indices in torch.arange(len(samples.labels)).split(TEST_BATCH):
            if len(indices) > 0:
                yield self._batch(samples, indices.to(self._spec.device), indices, None)

    def _place(self, samples: Samples) -> Samples:
        images = samples.images if self._spec.images else samples.images[:0]
        return Samples(images.contiguous().to(self._spec.device), samples.labels.to(self._spec.device))

    def _draw(self, epoch: int) -> Draws:
        height, width = self._train.images.shape[2:]
        generator = stream(self._spec.seed, epoch, AUGMENTATION)
        return self._augment.draw(len(self._train.labels), height, width, generator).to(self._spec.device)

    def _batch(self, samples: Samples, chosen: Tensor, indices: Tensor, draws: Draws | None) -> Batch:
        labels = samples.labels[chosen]
        if not self._spec.images:
            return Batch(None, labels, indices)
        return Batch(partial(self._images, samples, chosen, draws), labels, indices)

    def _images(self, samples: Samples, chosen: Tensor, draws: Draws | None) -> Tensor:
        stored = samples.images.index_select(0, chosen)
        if draws is not None and (self._augment.pad or self._augment.flip):
            stored = crop_and_mirror(stored, draws, pad=self._augment.pad)
        images = self._normalise(stored)
        if draws is not None and self._augment.cutout:
            images = cut_out(images, draws.centre, side=self._augment.cutout)
        return lay_out(images, channels_last=self._spec.channels_last)
