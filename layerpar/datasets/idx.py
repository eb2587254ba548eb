"""The MNIST family's format: one file of images and one of labels for each split, as IDX, mostly gzipped."""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from layerpar.datasets.memory import Samples
from layerpar.datasets.source import REPAIR, Source, reading, require_md5
from layerpar.errors import UserError, require
from layerpar.scratch import private_folder

UNSIGNED_BYTE = 8
"""The type's code in an IDX header."""

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class IdxSource(Source):
    """Four files `SPLIT-KIND-idxN-ubyte`, gzipped or not, in the class's folder or directly below the root.

    Attributes:
        md5: Of each gzipped file, by its name without `.gz`; what is not gzipped has no published checksum.
    """

    md5: dict[str, str]

    def missing(self, root: Path) -> Path | None:
        absent = [name for name in self.md5 if self._locate(root, name) is None]
        return root / self.folder / f"{absent[0]}.gz" if absent else None

    def archive(self, root: Path, missing: Path) -> Path:
        return missing

    def check(self, root: Path, *, checksums: bool) -> None:
        for name, md5 in self.md5.items():
            path = self._present(root, name)
            if checksums and path.suffix == ".gz":
                require_md5(path, md5)
            else:
                _require_shape(path, self._shape(name))

    def read(self, root: Path) -> tuple[Samples, Samples]:
        import torchvision.datasets

        reader = getattr(torchvision.datasets, self.torchvision_class)
        with private_folder() as scratch:
            folder = scratch / self.folder
            folder.mkdir(parents=True)
            for name in self.md5:
                path = self._present(root, name)
                with reading(path), _opened(path) as packed, (folder / name).open("wb") as unpacked:
                    while chunk := packed.read(CHUNK_BYTES):
                        _write(unpacked, chunk, folder=scratch)
            return self._split(reader, scratch, root, True), self._split(reader, scratch, root, False)

    def _split(self, reader: type, scratch: Path, root: Path, train: bool) -> Samples:
        path = self._present(root, f"{'train' if train else 't10k'}-images-idx3-ubyte")
        with reading(path):
            content = reader(scratch, train=train)
        count = self.num_train if train else self.num_test
        return self.samples(content.data.unsqueeze(1), content.targets, count, path)

    def _locate(self, root: Path, name: str) -> Path | None:
        folders = (root / self.folder, root)
        paths = (folder / file for folder in folders for file in (f"{name}.gz", name))
        return next((path for path in paths if path.is_file()), None)

    def _present(self, root: Path, name: str) -> Path:
        path = self._locate(root, name)
        if path is None:
            raise UserError(f"{root / self.folder / name}.gz is missing; try dataset.root=FOLDER")
        return path

    def _shape(self, name: str) -> tuple[int, ...]:
        count = self.num_train if name.startswith("train") else self.num_test
        return (count, *self.input_shape[1:]) if "images" in name else (count,)


def _write(file: IO[bytes], chunk: bytes, *, folder: Path) -> None:
    try:
        file.write(chunk)
    except OSError as error:  # not a fault of the file that is being read
        raise UserError(f"cannot write {folder}: {error.strerror}; try TMPDIR=ANOTHER") from error


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _require_shape(path: Path, shape: tuple[int, ...]) -> None:
    sizes = b"".join(size.to_bytes(4, "big") for size in shape)
    expected = bytes((0, 0, UNSIGNED_BYTE, len(shape))) + sizes
    length = len(expected) + math.prod(shape)
    with reading(path), _opened(path) as file:
        header = file.read(len(expected))
        found = len(header)
        while chunk := file.read(CHUNK_BYTES):
            found += len(chunk)
    require(
        header == expected and found == length,
        f"{path} is not {list(shape)} bytes in IDX format ({found} bytes in place of {length}); {REPAIR}",
    )
