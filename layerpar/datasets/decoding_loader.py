"""Sets of picture files: decode workers read ahead, and only for the workers that need images."""

from __future__ import annotations

import ctypes
import logging
import signal
import sys
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from layerpar.datasets.base import Batch, LoaderSpec, epoch_order
from layerpar.datasets.decode import Decoder, Job
from layerpar.datasets.normalise import Normalise, lay_out
from layerpar.datasets.pictures import Pictures
from layerpar.errors import UserError

TEST_BATCH = 100
TEST_EPOCH = -1
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's training pictures, by which all weights that torchvision publishes were trained."""

PR_SET_PDEATHSIG = 1

logger = logging.getLogger(__name__)


class DecodingLoader:
    """Serves pictures that are decoded as they are needed. Pixels do not depend on who decodes them.

    Args:
        train: Training pictures.
        validation: Pictures held out of the training set.
        test: Test pictures.
        spec: What this worker wants.
        size: Height and width of a sample in pixels.
        resize: Shorter side of a test picture before its middle is cropped.
        processes: Decode workers of each split.
        prefetch: Batches that each of them decodes ahead.
        skip_corrupt: Whether another picture takes the place of one that cannot be read.

    Attributes:
        corrupt: The files met so far that cannot be read, with the reasons.
    """

    def __init__(
        self,
        train: Pictures,
        validation: Pictures,
        test: Pictures,
        *,
        spec: LoaderSpec,
        size: int,
        resize: int,
        processes: int,
        prefetch: int,
        skip_corrupt: bool,
    ) -> None:
        self.steps_per_epoch = len(train) // spec.batch_size
        self.corrupt: dict[str, str] = {}
        self._skip = skip_corrupt
        self._spec = spec
        self._labels = train.labels.to(spec.device)
        self._validation_labels = validation.labels.to(spec.device)
        self._test_labels = test.labels.to(spec.device)
        if not spec.images:
            return
        self._normalise = Normalise(MEAN, STD, spec.device)
        cropped = v2.Compose([v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip()])
        centred = v2.Compose([v2.Resize(resize, antialias=True), v2.CenterCrop(size)])

        def feed(pictures: Pictures, transform: v2.Transform) -> _Feed:
            decoder = Decoder(pictures, transform, size=size, seed=spec.seed)
            return _Feed(decoder, processes=processes, prefetch=prefetch, pin=spec.device.type == "cuda")

        self._feed = feed(train, cropped)
        self._validation_feed, self._test_feed = feed(validation, centred), feed(test, centred)

    def train(self, epoch: int, steps: range | None = None) -> Iterator[Batch]:
        order = epoch_order(len(self._labels), seed=self._spec.seed, epoch=epoch)
        batches = order.split(self._spec.batch_size)
        asked = range(self.steps_per_epoch) if steps is None else steps
        chosen = [batches[step][self._spec.shard] for step in asked]
        if not self._spec.images:
            return self._labels_only(self._labels, chosen)
        return self._decoded(self._feed, self._labels, epoch, chosen)

    def validation(self) -> Iterator[Batch]:
        chosen = _in_order(len(self._validation_labels))
        if not self._spec.images:
            return self._labels_only(self._validation_labels, chosen)
        return self._decoded(self._validation_feed, self._validation_labels, TEST_EPOCH, chosen)

    def test(self) -> Iterator[Batch]:
        chosen = _in_order(len(self._test_labels))
        if not self._spec.images:
            return self._labels_only(self._test_labels, chosen)
        return self._decoded(self._test_feed, self._test_labels, TEST_EPOCH, chosen)

    def _labels_only(self, labels: Tensor, chosen: list[Tensor]) -> Iterator[Batch]:
        for batch in chosen:
            yield Batch(None, labels[batch.to(labels.device)], batch)

    def _decoded(self, feed: _Feed, labels: Tensor, epoch: int, chosen: list[Tensor]) -> Iterator[Batch]:
        jobs = [(epoch, batch.tolist()) for batch in chosen]
        for batch, (stored, unreadable) in zip(chosen, feed.serve(jobs), strict=True):
            for path, reason in unreadable.items():
                self._report(path, reason)
            yield Batch(partial(self._images, stored), labels[batch.to(labels.device)], batch)

    def _images(self, stored: Tensor) -> Tensor:
        images = self._normalise(stored.to(self._spec.device, non_blocking=True))
        return lay_out(images, channels_last=self._spec.channels_last)

    def _report(self, path: str, reason: str) -> None:
        if not self._skip:
            raise UserError(f"{path} cannot be used ({reason}); replace it, or try dataset.corrupt=skip")
        if path not in self.corrupt:
            self.corrupt[path] = reason
            count = len(self.corrupt)
            logger.warning("%s cannot be used (%s) and is skipped, number %d", path, reason, count)


class _Feed:
    """A `DataLoader` whose processes outlive an epoch; what it serves is said anew each time.

    An iteration that was left early is dropped by the next one.
    """

    def __init__(self, decoder: Decoder, *, processes: int, prefetch: int, pin: bool) -> None:
        self._jobs: list[Job] = []
        self._loader = DataLoader(
            decoder,
            batch_size=None,
            sampler=self._jobs,
            num_workers=processes,
            prefetch_factor=prefetch if processes else None,
            persistent_workers=processes > 0,
            pin_memory=pin,
            worker_init_fn=_die_with_parent,
            generator=torch.Generator(),
        )

    def serve(self, jobs: list[Job]) -> Iterator[tuple[Tensor, dict[str, str]]]:
        self._jobs[:] = jobs
        return iter(self._loader)


def _in_order(num_samples: int) -> list[Tensor]:
    return list(torch.arange(num_samples).split(TEST_BATCH)) if num_samples else []


def _die_with_parent(_: int) -> None:
    """Never outlive a parent that is killed (elsewhere than on Linux torch notices within 5 s)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
