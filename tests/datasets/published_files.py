"""Small files in the layouts of the published sets."""

from __future__ import annotations

import gzip
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from layerpar.datasets.augment import UNCHANGED
from layerpar.datasets.catalogue import SOURCES
from layerpar.datasets.idx import IdxSource
from layerpar.datasets.pickles import PickleSource
from layerpar.datasets.published import Published
from layerpar.datasets.source import Source

NUM_TRAIN, NUM_TEST = 30, 12


def small(name: str) -> Source:
    """The source with a few samples in place of tens of thousands."""
    return replace(SOURCES[name], num_train=NUM_TRAIN, num_test=NUM_TEST)


def dataset(source: str, root: Path | None, *, verify_checksums: bool = False) -> Published:
    return Published(
        name=source.lower(),
        train_limit=None,
        test_limit=None,
        source=source,
        root=None if root is None else str(root),
        verify_checksums=verify_checksums,
        augment=UNCHANGED,
    )


def write(source: Source, root: Path) -> None:
    """Fill `root` with random samples."""
    folder = root / source.folder
    folder.mkdir(parents=True)
    if isinstance(source, IdxSource):
        write_idx(source, folder)
    else:
        assert isinstance(source, PickleSource)
        write_pickles(source, folder)


def images(source: Source, count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *source.input_shape), dtype=np.uint8)


def labels(source: Source, count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, source.num_classes, count, dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()


def write_idx(source: IdxSource, folder: Path, *, packed: bool = True) -> None:
    for name in source.md5:
        count = source.num_train if name.startswith("train") else source.num_test
        content = idx(images(source, count)[:, 0] if "images" in name else labels(source, count))
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


def batch(source: Source, count: int) -> dict[str, object]:
    key = "labels" if source.num_classes == 10 else "fine_labels"
    return {"data": images(source, count).reshape(count, -1), key: labels(source, count).tolist()}


def write_pickles(source: PickleSource, folder: Path) -> None:
    for files, count in ((source.train_md5, source.num_train), (source.test_md5, source.num_test)):
        for name in files:
            (folder / name).write_bytes(pickle.dumps(batch(source, count // len(files))))
    names = {"label_names": ["a"] * 10, "fine_label_names": ["a"] * 100}
    for name in source.meta_md5:
        (folder / name).write_bytes(pickle.dumps(names))


def pack(source: PickleSource, root: Path) -> Path:
    """Turn the folder below `root` into the archive that is published."""
    archive = root / source.archive_name
    with tarfile.open(archive, "w:gz") as file:
        file.add(root / source.folder, arcname=source.folder)
    for path in (root / source.folder).iterdir():
        path.unlink()
    (root / source.folder).rmdir()
    return archive
