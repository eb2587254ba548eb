"""What must be known of a published set: its info, its files and how to tell whether they are whole."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torch import Tensor

from layerpar.datasets.memory import Samples
from layerpar.errors import UserError, require


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """A published set; a subclass for each file format.

    Attributes:
        torchvision_class: The class of `torchvision.datasets` that downloads and reads it.
        site: Where its archives lie, up to the last slash.
        folder: Where that class looks for the files, relative to its root.
        input_shape: Channels, height and width.
        num_classes: Different labels.
        num_train: Training samples.
        num_test: Test samples.
        mean: Per channel over the training set, of pixels in [0, 1].
        std: Per channel over the training set, of pixels in [0, 1].
    """

    torchvision_class: str
    site: str
    folder: str
    input_shape: tuple[int, int, int]
    num_classes: int
    num_train: int
    num_test: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @abstractmethod
    def missing(self, root: Path) -> Path | None:
        """The first file that is not there, None if all are."""

    @abstractmethod
    def archive(self, root: Path, missing: Path) -> Path:
        """The published archive that holds the `missing` file, where a user who has it should put it."""

    @abstractmethod
    def check(self, root: Path, *, checksums: bool) -> None:
        """Refuse a file that is not the published one or, without `checksums`, has not the right size.

        Raises:
            UserError: names the file and the override.
        """

    @abstractmethod
    def read(self, root: Path) -> tuple[Samples, Samples]:
        """Training and test samples.

        Raises:
            UserError: a file does not hold what it should; nothing is half-read.
        """

    def samples(self, images: Tensor, labels: Tensor, count: int, path: Path) -> Samples:
        """What was read from `path`, once it has the right shape.

        Raises:
            UserError: it has not.
        """
        expected = (count, *self.input_shape)
        require(
            tuple(images.shape) == expected and tuple(labels.shape) == (count,),
            f"{path} holds images {list(images.shape)} and labels {list(labels.shape)} in place of "
            f"{list(expected)} and [{count}]; {REPAIR}",
        )
        low, high = int(labels.min()), int(labels.max())
        require(
            0 <= low <= high < self.num_classes,
            f"{path} has labels from {low} to {high} in place of 0 to {self.num_classes - 1}; {REPAIR}",
        )
        return Samples(images, labels)


REPAIR = "replace it, or try dataset.root=FOLDER"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a reader makes of a broken file into a `UserError` that names the file."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path} cannot be read ({reason}); {REPAIR}") from error


def require_md5(path: Path, md5: str) -> None:
    """Raise `UserError` unless the file is the published one."""
    with reading(path):
        state = path.stat()
        found = _md5(path, state.st_size, state.st_mtime_ns)
    require(
        found == md5,
        f"{path} is not the published file (its MD5 is {found}); replace it, or accept it with "
        "dataset.verify_checksums=false",
    )


@cache
def _md5(path: Path, size: int, changed: int) -> str:
    """Of a file as it is at that size and time of change; runs of one command check the same files."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
