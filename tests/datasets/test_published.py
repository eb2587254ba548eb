"""Published sets are read whole from their usual layouts, or refused with one line."""

from __future__ import annotations

import gzip
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import published_files
import pytest
import torch
import torchvision.datasets
from published_files import NUM_TEST, NUM_TRAIN, dataset, small

from layerpar.datasets import download
from layerpar.datasets.base import LoaderSpec
from layerpar.datasets.catalogue import SOURCES
from layerpar.datasets.idx import IdxSource
from layerpar.datasets.pickles import PickleSource
from layerpar.datasets.published import Published
from layerpar.errors import UserError

EVERY = ("MNIST", "FashionMNIST", "CIFAR10", "CIFAR100")
IDX, PICKLED = EVERY[:2], EVERY[2:]
ALL = LoaderSpec(seed=0, batch_size=8, shard=slice(0, 8), images=True, device=torch.device("cpu"))


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "answers", lambda url: False)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Published:
    """A small set of the parametrised source, written below the temporary folder."""
    name = request.param
    monkeypatch.setitem(SOURCES, name, small(name))
    published_files.write(SOURCES[name], tmp_path)
    return dataset(name, tmp_path)


def file_of(published: Published, start: str) -> Path:
    assert published.root is not None
    return next(path for path in sorted(Path(published.root).rglob("*")) if path.name.startswith(start))


def refusal(published: Published) -> str:
    """What `info`, or else the loader, says in one line."""
    with pytest.raises(UserError) as caught:
        _use(published)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _use(published: Published) -> None:
    published.info()
    published.loader(ALL)


def real(name: str) -> Path:
    root = Path(os.environ.get("LAYERPAR_DATA") or "data") / name
    if not root.is_dir():
        pytest.skip(f"no {root}: set LAYERPAR_DATA to the folder with the real sets")
    return root


@pytest.mark.parametrize("name", IDX)
def test_idx_checksums_are_torchvisions(name: str) -> None:
    source = SOURCES[name]
    assert isinstance(source, IdxSource)
    reader = getattr(torchvision.datasets, name)
    assert [(f"{file}.gz", md5) for file, md5 in source.md5.items()] == reader.resources
    assert Path(source.folder).as_posix() == f"{name}/raw"
    assert source.site in reader.mirrors


@pytest.mark.parametrize("name", PICKLED)
def test_pickle_checksums_are_torchvisions(name: str) -> None:
    source = SOURCES[name]
    assert isinstance(source, PickleSource)
    reader = getattr(torchvision.datasets, name)
    assert [[*item] for item in source.train_md5.items()] == reader.train_list
    assert [[*item] for item in source.test_md5.items()] == reader.test_list
    assert source.meta_md5 == {reader.meta["filename"]: reader.meta["md5"]}
    assert source.folder == reader.base_folder
    assert f"{source.site}{source.archive_name}" == reader.url


@pytest.mark.parametrize("written", EVERY, indirect=True)
def test_facts_and_samples(written: Published) -> None:
    source = SOURCES[written.source]
    info = written.info()
    assert (info.input_shape, info.num_classes) == (source.input_shape, source.num_classes)
    assert (info.num_train, info.num_test) == (NUM_TRAIN, NUM_TEST)
    loader = written.loader(ALL)
    assert loader.steps_per_epoch == NUM_TRAIN // 8
    batch = next(loader.test())
    stored = torch.from_numpy(published_files.images(source, NUM_TEST)).float() / 255
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (source.mean, source.std))
    assert batch.images is not None
    torch.testing.assert_close(batch.images, (stored - mean) / std)
    assert batch.labels.tolist() == published_files.labels(source, NUM_TEST).tolist()


@pytest.mark.parametrize("written", EVERY, indirect=True)
def test_limits_keep_the_first_samples(written: Published) -> None:
    every = next(written.loader(ALL).test()).labels
    written.train_limit, written.test_limit = 16, 5
    info = written.info()
    loader = written.loader(ALL)
    assert (info.num_train, info.num_test, loader.steps_per_epoch) == (16, 5, 2)
    assert next(loader.test()).labels.equal(every[:5])


@pytest.mark.parametrize("written", EVERY, indirect=True)
@pytest.mark.parametrize("keep", [0, 1, 0.5, -1])
def test_a_file_cut_short_is_named(written: Published, keep: float) -> None:
    for start in ("t10k-images", "test"):
        if written.source in (IDX if start == "t10k-images" else PICKLED):
            path = file_of(written, start)
            content = path.read_bytes()
            path.write_bytes(content[: int(len(content) * keep) if keep == 0.5 else int(keep)])
            message = refusal(written)
            assert message.startswith(str(path))
            assert message.endswith("replace it, or try dataset.root=FOLDER")


@pytest.mark.parametrize("written", EVERY, indirect=True)
def test_cut_files_are_refused_before_any_worker_starts(written: Published) -> None:
    path = file_of(written, "t10k-labels" if written.source in IDX else "test")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match=path.name):
        written.info()


@pytest.mark.parametrize("written", EVERY, indirect=True)
def test_checksums_tell_a_repacked_set_and_name_the_key(written: Published) -> None:
    written.verify_checksums = True
    message = refusal(written)
    assert "is not the published file" in message
    assert message.endswith("dataset.verify_checksums=false")


@pytest.mark.parametrize("written", EVERY, indirect=True)
def test_a_folder_in_place_of_a_file_is_a_missing_file(written: Published) -> None:
    path = file_of(written, "t10k-images" if written.source in IDX else "test")
    path.unlink()
    path.mkdir()
    message = refusal(written)
    assert f"{path} is missing" in message
    assert "does not answer" in message


@pytest.mark.parametrize("written", PICKLED, indirect=True)
def test_every_file_of_the_archive_must_be_there(written: Published) -> None:
    source = SOURCES[written.source]
    assert isinstance(source, PickleSource)
    for name in (*source.train_md5, *source.test_md5, *source.meta_md5):
        path = file_of(written, name)
        content = path.read_bytes()
        path.unlink()
        message = refusal(written)
        assert f"{path} is missing" in message
        assert f"put {source.site}{source.archive_name} into {written.root}" in message
        path.write_bytes(content)


@pytest.mark.parametrize("name", EVERY)
def test_nothing_there_and_no_network(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERPAR_DATA", str(tmp_path))
    message = refusal(dataset(name, None))
    source = SOURCES[name]
    assert str(tmp_path / name.lower() / source.folder) in message
    assert "does not answer" in message
    assert source.site in message
    assert message.endswith("try dataset.root=FOLDER")
    assert not list(tmp_path.iterdir()), "a refused run leaves no folders"


def test_a_site_that_keeps_silent_is_left_soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    given_up = Event()

    def silent(*_: Any, **__: Any) -> None:
        given_up.wait(60)
        raise OSError("timed out")

    monkeypatch.setattr(download, "urlopen", silent)
    before = time.perf_counter()
    assert "does not answer" in refusal(dataset("CIFAR100", tmp_path))
    assert time.perf_counter() - before < 2.5
    given_up.set()


@pytest.mark.parametrize("written", IDX, indirect=True)
@pytest.mark.parametrize("place", ["packed below the root", "unpacked", "unpacked below the root"])
def test_idx_files_in_other_places(written: Published, place: str, tmp_path: Path) -> None:
    source = SOURCES[written.source]
    assert isinstance(source, IdxSource)
    expected = [batch.images for batch in written.loader(ALL).test()]
    folder = tmp_path / source.folder
    for path in folder.iterdir():
        path.unlink()
    target = tmp_path if "below" in place else folder
    published_files.write_idx(source, target, packed=place.startswith("packed"))
    written.info()
    served = [batch.images for batch in written.loader(ALL).test()]
    for one, other in zip(served, expected, strict=True):
        assert one is not None
        assert other is not None
        assert one.equal(other)


def test_reading_writes_nothing_beside_the_archives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(SOURCES, "MNIST", small("MNIST"))
    published_files.write(SOURCES["MNIST"], tmp_path)
    before = sorted(tmp_path.rglob("*"))
    dataset("MNIST", tmp_path).loader(ALL)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("written", ["MNIST"], indirect=True)
@pytest.mark.parametrize(
    "content",
    {
        "fewer samples": np.zeros((NUM_TRAIN - 1, 28, 28), np.uint8),
        "another size": np.zeros((NUM_TRAIN, 14, 56), np.uint8),
        "flat": np.zeros((NUM_TRAIN, 784), np.uint8),
    }.items(),
    ids=lambda item: item[0],
)
def test_idx_images_of_another_shape(written: Published, content: tuple[str, np.ndarray]) -> None:
    path = file_of(written, "train-images")
    path.write_bytes(gzip.compress(published_files.idx(content[1])))
    with pytest.raises(UserError, match=r"train-images.* is not \[30, 28, 28\] bytes in IDX format"):
        written.info()


@pytest.mark.parametrize("written", ["MNIST"], indirect=True)
def test_idx_labels_out_of_range(written: Published) -> None:
    file_of(written, "t10k-labels").write_bytes(
        gzip.compress(published_files.idx(np.full(NUM_TEST, 11, np.uint8)))
    )
    assert "labels from 11 to 11 in place of 0 to 9" in refusal(written)


@pytest.mark.parametrize("written", PICKLED, indirect=True)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda batch: batch | {"data": batch["data"][:-1]}, "holds images"),
        (lambda batch: batch | {"data": batch["data"][:, :-3]}, "ValueError"),
        (lambda batch: batch | {"data": batch["data"].astype(np.float32)}, "pixels of type torch.float32"),
        (lambda batch: {"data": batch["data"]}, "KeyError"),
        (lambda batch: {"labels": [0] * NUM_TEST}, "KeyError"),
        (lambda batch: batch | {"labels": [0]}, "and labels [1] in place of"),
        (lambda batch: batch | {"labels": [100] * NUM_TEST}, "labels from 100 to 100"),
        (lambda batch: batch | {"labels": [-1] * NUM_TEST}, "labels from -1 to -1"),
        (lambda batch: batch | {"labels": ["cat"] * NUM_TEST}, "cannot be read"),
        (lambda batch: {"list": [batch]}, "KeyError"),
    ],
)
def test_pickles_that_hold_something_else(
    written: Published, change: Callable[[dict[str, Any]], dict[str, Any]], reason: str
) -> None:
    path = file_of(written, "test")
    of_full_size = {"padding": bytes(NUM_TEST * 3072)}
    path.write_bytes(pickle.dumps(change(pickle.loads(path.read_bytes())) | of_full_size))
    message = refusal(written)
    assert message.startswith(str(path))
    assert reason in message


@pytest.mark.parametrize("written", PICKLED, indirect=True)
def test_no_pickle_at_all(written: Published) -> None:
    path = file_of(written, "test")
    path.write_bytes(bytes(path.stat().st_size) + b".")
    assert refusal(written).startswith(f"{path} cannot be read (UnpicklingError")


@pytest.mark.parametrize("written", PICKLED, indirect=True)
def test_a_spoilt_file_of_class_names(written: Published) -> None:
    path = file_of(written, "batches.meta" if written.source == "CIFAR10" else "meta")
    path.write_bytes(b"")
    assert refusal(written).startswith(str(path))


class Command:
    """Pickles as a command that leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("written", PICKLED, indirect=True)
@pytest.mark.parametrize("start", ["data_batch_1", "train", "test", "batches.meta", "meta"])
def test_what_a_file_holds_is_never_executed(written: Published, start: str, tmp_path: Path) -> None:
    source, trace = SOURCES[written.source], tmp_path / "trace"
    assert isinstance(source, PickleSource)
    for path in (tmp_path / source.folder).glob(start):
        path.write_bytes(pickle.dumps([Command(trace), bytes(NUM_TRAIN * 3072)]))
        if "meta" in start:
            _use(written)
        else:
            assert refusal(written).startswith(f"{path} cannot be read (UnpicklingError: names posix.system")
    assert not trace.exists()


@pytest.mark.parametrize("written", PICKLED, indirect=True)
def test_the_archive_itself_is_unpacked(written: Published, tmp_path: Path) -> None:
    expected = next(written.loader(ALL).test())
    source = SOURCES[written.source]
    assert isinstance(source, PickleSource)
    archive = published_files.pack(source, tmp_path)
    written.info()
    batch = next(written.loader(ALL).test())
    assert batch.labels.equal(expected.labels)
    assert sorted(tmp_path.iterdir()) == sorted([archive, tmp_path / source.folder])


@pytest.mark.parametrize("written", ["CIFAR10"], indirect=True)
@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_an_archive_cut_short_is_named_and_leaves_nothing(
    written: Published, tmp_path: Path, keep: float
) -> None:
    source = SOURCES["CIFAR10"]
    assert isinstance(source, PickleSource)
    archive = published_files.pack(source, tmp_path)
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * keep) if keep == 0.5 else int(keep)])
    assert refusal(written).startswith(f"{archive} cannot be read")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path != archive]


def test_a_worker_without_images_keeps_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(SOURCES, "CIFAR10", small("CIFAR10"))
    published_files.write(SOURCES["CIFAR10"], tmp_path)
    spec = LoaderSpec(seed=0, batch_size=8, shard=slice(0, 8), images=False, device=torch.device("cpu"))
    loader = dataset("CIFAR10", tmp_path).loader(spec)
    with_images = dataset("CIFAR10", tmp_path).loader(ALL)
    for own, other in zip(loader.train(1), with_images.train(1), strict=True):
        assert own.images is None
        assert own.labels.equal(other.labels)


def test_an_unknown_source() -> None:
    with pytest.raises(UserError, match=r"dataset\.source=SVHN is not known; try dataset\.source=MNIST"):
        dataset("SVHN", None)


def test_real_mnist() -> None:
    published = dataset("MNIST", real("mnist"), verify_checksums=True)
    assert published.info().num_train == 60_000
    published.test_limit = 10
    batch = next(published.loader(ALL).test())
    assert batch.labels.tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_real_cifar10_as_repacked() -> None:
    published = dataset("CIFAR10", real("cifar10"))
    published.info()
    loader = published.loader(ALL)
    batch = next(loader.test())
    assert batch.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert batch.images is not None
    assert batch.images.mean().abs() < 0.05
    assert loader.steps_per_epoch == 50_000 // 8
