"""What a data set is: info known without reading it, and a loader that gives every mode the same batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from math import inf
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from layerpar.errors import require
from layerpar.seeds import stream


@dataclass(frozen=True)
class DatasetInfo:
    """What must be known of a data set before anything starts.

    Attributes:
        input_shape: Channels, height and width of an image as the network sees it.
        num_classes: Different labels.
        num_train: Training samples, after `train_limit` and without those held out for validation.
        num_test: Test samples, after `test_limit`.
        num_validation: Samples held out of the training set.
    """

    input_shape: tuple[int, int, int]
    num_classes: int
    num_train: int
    num_test: int
    num_validation: int = 0


@dataclass(frozen=True)
class Batch:
    """Samples of one step, on the worker's device.

    Attributes:
        load: Makes the images; None on a worker that does not own the network's input.
        labels: (batch,), int64.
        indices: (batch,), int64, on the CPU: where the samples stand in the training, validation or test set.
    """

    load: Callable[[], Tensor] | None
    labels: Tensor
    indices: Tensor

    @cached_property
    def images(self) -> Tensor | None:
        """(batch, channels, height, width), float32, normalised; made when they are first asked for."""
        return None if self.load is None else self.load()

    def split(self, parts: int) -> list[Batch]:
        """Its micro-batches: so many equal parts, in order. `parts` divides the batch."""
        if parts == 1:
            return [self]
        loads = [None if self.load is None else partial(self._part, index, parts) for index in range(parts)]
        pieces = zip(loads, self.labels.chunk(parts), self.indices.chunk(parts), strict=True)
        return [Batch(*piece) for piece in pieces]

    def _part(self, index: int, parts: int) -> Tensor:
        assert self.images is not None
        return self.images.chunk(parts)[index]


@dataclass(frozen=True)
class LoaderSpec:
    """What one worker wants of a data set.

    Attributes:
        seed: Sample order and augmentation follow from it.
        batch_size: Samples of a step over all workers together.
        shard: The part of each training batch that this worker takes: `slice(0, batch_size)` for all of it.
        images: False where labels are enough.
        device: Where batches must lie.
        channels_last: Lay images out (batch, height, width, channel).
    """

    seed: int
    batch_size: int
    shard: slice
    images: bool
    device: torch.device
    channels_last: bool = False


class Loader(Protocol):
    """Batches of one data set for one worker. Batch i of epoch e is the same in every mode for one seed."""

    steps_per_epoch: int
    """Whole training batches in an epoch; the samples left over are dropped, others each epoch."""

    def train(self, epoch: int, steps: range | None = None) -> Iterator[Batch]:
        """The `steps_per_epoch` batches of an epoch (from 0), in seeded order, each cut to this shard.

        Of these only `steps` (from 0), where given; nothing is read ahead beyond them.
        """
        ...

    def validation(self) -> Iterator[Batch]:
        """What is held out of the training set, in order; as `test` serves. Nothing where nothing is."""
        ...

    def test(self) -> Iterator[Batch]:
        """The whole test set in order, the last batch possibly smaller; not sharded, not augmented."""
        ...


@dataclass(kw_only=True)
class Dataset:
    """A data set and where it lies. A new one is a subclass in one file, and one YAML.

    Attributes:
        name: The choice, as tables show it.
        train_limit: Use only so many training samples, the first unless the set says otherwise; null for all.
        test_limit: The same for test samples.
        validation: Samples held out of the training set (after `train_limit`): a number, or a fraction below
            1. While a run trains, its evaluations score these, and the test set is scored once at the end.
            They are drawn once and for all: the same in every mode and for every seed.
        slow_imports: Modules that `loader` imports and that take long. A process that forks the workers of a
            command imports them once for all.
    """

    slow_imports: ClassVar[tuple[str, ...]] = ()

    name: str
    train_limit: int | None
    test_limit: int | None
    validation: float = 0

    def __post_init__(self) -> None:
        held = self.validation
        require(
            0 <= held < inf and (held < 1 or held == int(held)),
            f"dataset.validation={held:g} is neither a number of samples nor a fraction below 1; "
            "try dataset.validation=0.1",
        )
        for key in ("train_limit", "test_limit"):
            limit = getattr(self, key)
            require(
                limit is None or limit >= 1, f"dataset.{key}={limit} is too small; try dataset.{key}=null"
            )

    def num_validation(self, available: int) -> int:
        """How many of the `available` training samples are held out.

        Raises:
            UserError: none would be left, or none held out.
        """
        held = self.validation
        count = round(held * available) if held < 1 else int(held)
        require(
            held == 0 or 0 < count < available,
            f"dataset.validation={held:g} holds {count} of {available} training samples out; "
            "try dataset.validation=0.1",
        )
        return count

    @property
    def is_random(self) -> bool:
        """Whether a training image differs from one epoch to the next."""
        return False

    @property
    def num_decoders(self) -> int:
        """Processes that decode images for a worker that needs them, beside its own threads."""
        return 0

    def info(self) -> DatasetInfo:
        """Sizes and shapes, reading as little as possible; called before any worker starts, and by each.

        Raises:
            UserError: files are missing or unreadable; names the file, where to put it and the config key.
        """
        raise NotImplementedError

    def loader(self, spec: LoaderSpec) -> Loader:
        """Read the data (on every worker) and serve it as `spec` says."""
        raise NotImplementedError

    def blank_loader(self, spec: LoaderSpec) -> Loader | None:
        """Serves an epoch of two blank batches as `loader` serves real ones.

        None where samples do not lie in memory, so that blank ones would take another time.
        """
        return None

    def blank_batches(self, samples: int, *, device: torch.device, channels_last: bool) -> list[Batch]:
        """Two batches whose images take as long to make as those of training; none where none can."""
        whole = slice(0, samples)
        spec = LoaderSpec(0, samples, whole, images=True, device=device, channels_last=channels_last)
        loader = self.blank_loader(spec)
        return [] if loader is None else list(loader.train(0))


def epoch_order(num_samples: int, *, seed: int, epoch: int) -> Tensor:
    """The order in which every mode sees the training samples in this epoch: a permutation, on the CPU."""
    return torch.randperm(num_samples, generator=stream(seed, epoch))


def held_out(num_samples: int, count: int) -> tuple[Tensor, Tensor]:
    """Which of so many samples to train on, and which `count` to hold out: both in order, always the same."""
    drawn = torch.randperm(num_samples, generator=stream("validation"))
    return drawn[count:].sort().values, drawn[:count].sort().values


def limited(available: int, limit: int | None) -> int:
    """How many of the `available` samples `limit` leaves."""
    return available if limit is None else min(available, limit)


def default_root(name: str) -> Path:
    """`$LAYERPAR_DATA/NAME`, else `data/NAME`."""
    return Path(os.environ.get("LAYERPAR_DATA") or "data") / name
