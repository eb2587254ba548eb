"""Small sets: the whole data set lies on the worker's device as one uint8 tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from layerpar.datasets.base import Batch, Request, epoch_order

TEST_BATCH = 1000


@dataclass(frozen=True)
class Samples:
    """Images as stored, (sample, channel, height, width) uint8, and their labels, (sample,) int64."""

    images: Tensor
    labels: Tensor


class MemoryLoader:
    """Serves samples that fit into memory; selecting and normalising run batched on the device.

    Args:
        train: Training samples.
        test: Test samples.
        mean: Per channel, of pixels in [0, 1].
        std: Per channel, of pixels in [0, 1].
        request: What this worker wants.
    """

    def __init__(
        self,
        train: Samples,
        test: Samples,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        request: Request,
    ) -> None:
        self._request = request
        self._train = self._place(train)
        self._test = self._place(test)
        scale = torch.tensor(std, device=request.device).view(1, -1, 1, 1)
        self._gain = 1 / (255 * scale)
        self._offset = torch.tensor(mean, device=request.device).view(1, -1, 1, 1) / scale
        self.steps_per_epoch = len(train.labels) // request.batch_size

    def train(self, epoch: int) -> Iterator[Batch]:
        order = epoch_order(len(self._train.labels), seed=self._request.seed, epoch=epoch)
        order = order.to(self._request.device)
        for step in range(self.steps_per_epoch):
            first = step * self._request.batch_size
            yield self._batch(self._train, order[first : first + self._request.batch_size][self._request.shard])

    def test(self) -> Iterator[Batch]:
        for chosen in torch.arange(len(self._test.labels), device=self._request.device).split(TEST_BATCH):
            yield self._batch(self._test, chosen)

    def _place(self, samples: Samples) -> Samples:
        images = samples.images if self._request.images else samples.images[:0]
        if self._request.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return Samples(images.to(self._request.device), samples.labels.to(self._request.device))

    def _batch(self, samples: Samples, chosen: Tensor) -> Batch:
        labels = samples.labels[chosen]
        if not self._request.images:
            return Batch(None, labels)
        return Batch(samples.images[chosen].float().mul_(self._gain).sub_(self._offset), labels)
