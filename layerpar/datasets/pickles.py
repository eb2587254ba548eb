"""The CIFAR family's format: pickled batches of images and labels, and a file with the class names."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from layerpar.datasets.memory import Samples
from layerpar.datasets.plain_pickle import load
from layerpar.datasets.source import REPAIR, Source, reading, require_md5
from layerpar.errors import require

PICKLE_STOP = b"."
"""The last byte of every pickle."""


@dataclass(frozen=True, kw_only=True)
class PickleSource(Source):
    """Files as the published archive unpacks them, each a dict with images and labels.

    Attributes:
        archive_name: The archive that holds them all.
        train_md5: Of each file of training samples, by its name.
        test_md5: Of each file of test samples.
        meta_md5: Of the file with the class names.
    """

    archive_name: str
    train_md5: dict[str, str]
    test_md5: dict[str, str]
    meta_md5: dict[str, str]

    def missing(self, root: Path) -> Path | None:
        paths = (root / self.folder / name for name in self._md5)
        return next((path for path in paths if not path.is_file()), None)

    def archive(self, root: Path, missing: Path) -> Path:
        return root / self.archive_name

    def check(self, root: Path, *, checksums: bool) -> None:
        for name, md5 in self._md5.items():
            path = root / self.folder / name
            if checksums:
                require_md5(path, md5)
            else:
                _require_whole(path, 0 if name in self.meta_md5 else self._num_pixels(name))

    def read(self, root: Path) -> tuple[Samples, Samples]:
        train = [self._read_file(root, name) for name in self.train_md5]
        test = [self._read_file(root, name) for name in self.test_md5]
        return _joined(train), _joined(test)

    @property
    def _md5(self) -> dict[str, str]:
        return self.train_md5 | self.test_md5 | self.meta_md5

    def _count(self, name: str) -> int:
        if name in self.train_md5:
            return self.num_train // len(self.train_md5)
        return self.num_test // len(self.test_md5)

    def _num_pixels(self, name: str) -> int:
        return self._count(name) * math.prod(self.input_shape)

    def _read_file(self, root: Path, name: str) -> Samples:
        path = root / self.folder / name
        with reading(path), path.open("rb") as file:
            content = load(file)
            stored = content["data"].array.reshape(-1, *self.input_shape)
            images = torch.from_numpy(stored)
            label_key = "labels" if "labels" in content else "fine_labels"
            labels = torch.tensor(content[label_key], dtype=torch.int64)
            require(images.dtype == torch.uint8, f"{path} holds pixels of type {images.dtype}; {REPAIR}")
        return self.samples(images, labels, self._count(name), path)


def _joined(parts: list[Samples]) -> Samples:
    return Samples(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))


def _require_whole(path: Path, least_bytes: int) -> None:
    with reading(path), path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        last = file.read()
    require(
        size >= least_bytes and last == PICKLE_STOP,
        f"{path} is cut short or not a pickle ({size} bytes); {REPAIR}",
    )
