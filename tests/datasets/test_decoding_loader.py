"""Pixels and labels of pictures depend on nobody's share, processes or layout."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from picture_files import SIZE, image_folder, spec, write_folder
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from layerpar.datasets.base import Batch, Loader, epoch_order
from layerpar.datasets.decoding_loader import MEAN, STD
from layerpar.errors import UserError
from layerpar.seeds import stream_seed

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), train=9)


def pixels(batches: Iterator[Batch]) -> Tensor:
    images = [batch.images for batch in batches]
    assert all(image is not None for image in images)
    return torch.cat([image for image in images if image is not None])


def labels(batches: Iterator[Batch]) -> list[int]:
    return torch.cat([batch.labels for batch in batches]).tolist()


@pytest.mark.parametrize("workers", [1, 2])
def test_decode_workers_change_no_pixel(root: Path, workers: int) -> None:
    alone = image_folder(root).loader(spec())
    helped = image_folder(root, decode_workers=workers).loader(spec())
    for epoch in range(2):
        assert pixels(alone.train(epoch)).equal(pixels(helped.train(epoch)))
    assert pixels(alone.test()).equal(pixels(helped.test()))


@pytest.mark.parametrize("cut", [1, 4, 7])
def test_shards_put_together_are_the_batch_of_a_single_worker(root: Path, cut: int) -> None:
    whole = image_folder(root).loader(spec())
    parts = [image_folder(root).loader(spec(shard=shard)) for shard in (slice(0, cut), slice(cut, 8))]
    for batch, low, high in zip(whole.train(1), *(part.train(1) for part in parts), strict=True):
        assert batch.images is not None
        assert low.images is not None
        assert high.images is not None
        assert batch.images.equal(torch.cat((low.images, high.images)))
        assert batch.labels.equal(torch.cat((low.labels, high.labels)))


def test_a_worker_without_images_gets_the_labels_and_opens_nothing(tmp_path: Path) -> None:
    folder = image_folder(write_folder(tmp_path))
    expected = folder.loader(spec())
    served = labels(expected.train(0)), labels(expected.test())
    for path in tmp_path.rglob("*.JPEG"):
        path.write_bytes(b"never opened")
    own = folder.loader(spec(images=False))
    assert (labels(own.train(0)), labels(own.test())) == served
    assert all(batch.images is None for batch in own.test())


def test_batches_follow_the_epoch_order_and_drop_the_rest(root: Path) -> None:
    folder = image_folder(root)
    loader = folder.loader(spec(seed=3))
    assert loader.steps_per_epoch == 3
    every = folder._splits[0].labels
    assert labels(loader.train(5)) == every[epoch_order(27, seed=3, epoch=5)[:24]].tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_some_steps_of_an_epoch_are_those_of_the_whole(root: Path, workers: int) -> None:
    whole = pixels(image_folder(root).loader(spec()).train(1))
    loader = image_folder(root, decode_workers=workers).loader(spec())
    assert pixels(loader.train(1, range(2))).equal(whole[:16])
    assert pixels(loader.train(1, range(2, 3))).equal(whole[16:])


def test_the_whole_test_set_in_order_whatever_the_seed(root: Path) -> None:
    one, other = (image_folder(root).loader(spec(seed=seed)) for seed in (0, 1))
    assert labels(one.test()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert pixels(one.test()).equal(pixels(other.test()))


def test_pixels_change_with_seed_and_epoch(root: Path) -> None:
    loader = image_folder(root).loader(spec())
    other = image_folder(root).loader(spec(seed=1))
    assert pixels(loader.train(0)).equal(pixels(loader.train(0)))
    assert not pixels(loader.train(0)).equal(pixels(loader.train(1)))
    assert not pixels(loader.train(0)).equal(pixels(other.train(0)))


def test_training_pixels_are_those_of_torchvisions_recipe(root: Path) -> None:
    """The same crops: the reference with its generator seeded as ours is, on PIL pictures."""
    folder = image_folder(root)
    recipe = v2.Compose(
        [
            v2.PILToTensor(),
            v2.RandomResizedCrop(SIZE, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    served = pixels(folder.loader(spec(seed=2)).train(4))
    train, _, _ = folder._splits
    for index, image in zip(epoch_order(27, seed=2, epoch=4)[:24].tolist(), served, strict=True):
        torch.manual_seed(stream_seed(2, 4, index))
        with Image.open(train.path(index)) as picture:
            torch.testing.assert_close(image, recipe(picture.convert("RGB")))


def test_test_pixels_are_nearly_those_of_torchvisions_recipe_on_pil(root: Path) -> None:
    folder = image_folder(root)
    recipe = v2.Compose(
        [
            v2.Resize(10, antialias=True),
            v2.CenterCrop(SIZE),
            v2.PILToTensor(),
            v2.ToDtype(torch.float, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    _, _, test = folder._splits
    for index, image in enumerate(pixels(folder.loader(spec()).test())):
        with Image.open(test.path(index)) as picture:
            one_level = 1.01 / 255 / min(STD)
            assert (image - recipe(picture.convert("RGB"))).abs().max() <= one_level


def test_layout_changes_no_pixel(root: Path) -> None:
    first = next(image_folder(root).loader(spec()).train(0)).images
    last = next(image_folder(root).loader(spec(channels_last=True)).train(0)).images
    assert first is not None
    assert last is not None
    assert first.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert first.equal(last)
    assert first.dtype == torch.float32


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_left_early_and_tests_in_between_disturb_nothing(root: Path, workers: int) -> None:
    expected = image_folder(root).loader(spec())
    loader = image_folder(root, decode_workers=workers).loader(spec())
    list(islice(loader.train(0), 1))
    epoch = loader.train(1)
    first = next(epoch)
    assert labels(loader.test()) == labels(expected.test())
    assert pixels(iter([first, *epoch])).equal(pixels(expected.train(1)))


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_leaves_the_global_generator_alone(root: Path, workers: int) -> None:
    loader = image_folder(root, decode_workers=workers).loader(spec())
    torch.manual_seed(7)
    untouched = torch.rand(3)
    torch.manual_seed(7)
    list(loader.train(0))
    list(loader.test())
    assert torch.rand(3).equal(untouched)


def refusal(loader: Loader) -> str:
    """What training says; keeps no traceback, which would keep the decode workers waiting for their end."""
    try:
        list(loader.train(0))
    except UserError as error:
        return str(error)
    pytest.fail("nothing was refused")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_picture_ends_the_run_by_name(tmp_path: Path, workers: int) -> None:
    path = write_folder(tmp_path) / "train" / "b" / "b_3.JPEG"
    path.write_bytes(path.read_bytes()[:100])
    loader = image_folder(tmp_path, decode_workers=workers).loader(spec())
    message = refusal(loader)
    assert message == f"{path} cannot be used (JPEG is cut short); replace it, or try dataset.corrupt=skip"


@pytest.mark.parametrize("workers", [0, 2])
def test_corrupt_pictures_are_skipped_named_once_and_counted(
    tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    whole = image_folder(write_folder(tmp_path)).loader(spec())
    expected = [(batch.images, batch.labels) for batch in whole.train(0)]
    spoilt = {tmp_path / "train" / "b" / "b_3.JPEG", tmp_path / "val" / "c" / "c_0.JPEG"}
    for path in spoilt:
        path.write_bytes(b"spoilt")
    loader = image_folder(tmp_path, decode_workers=workers, corrupt="skip").loader(spec())
    blind = image_folder(tmp_path, corrupt="skip").loader(spec(images=False))
    with caplog.at_level(logging.WARNING):
        served = list(loader.train(0))
        list(loader.train(1))
        list(loader.test())
    assert labels(iter(served)) == labels(blind.train(0))
    changed = 0
    for batch, (images, known) in zip(served, expected, strict=True):
        assert batch.labels.equal(known)
        assert batch.images is not None
        assert images is not None
        changed += int((batch.images != images).flatten(1).any(dim=1).sum())
    assert changed == 1
    assert loader.corrupt == {str(path): "not a picture" for path in spoilt}  # type: ignore[attr-defined]
    assert len(caplog.records) == 2
    assert "skipped, number 2" in caplog.records[1].getMessage()


def serve_and_be_killed(root: Path, pids: Connection) -> None:
    """Start decode workers, tell who they are, and die without a word to them."""
    loader = image_folder(root, decode_workers=2).loader(spec())
    next(loader.train(0))
    children = multiprocessing.active_children()
    assert all(child.daemon for child in children)
    pids.send([child.pid for child in children])
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch takes 5 s to notice")
def test_decode_workers_die_with_a_parent_that_is_killed(root: Path) -> None:
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    parent = context.Process(target=serve_and_be_killed, args=(root, writer))
    parent.start()
    writer.close()
    children = reader.recv()
    parent.join()
    assert parent.exitcode == -signal.SIGKILL
    assert len(children) == 2
    deadline = time.monotonic() + 3
    while any(map(running, children)):
        assert time.monotonic() < deadline, "decode workers outlive their parent"
        time.sleep(0.01)


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def test_the_real_slice_of_imagenet() -> None:
    real = Path(os.environ.get("LAYERPAR_DATA") or "data") / "imagenette"
    if not real.is_dir():
        pytest.skip(f"no {real}: set LAYERPAR_DATA to the folder with the real sets")
    folder = image_folder(real, size=64, resize=72)
    info = folder.info()
    assert (info.num_classes, info.num_train, info.num_test) == (10, 600, 200)
    loader = folder.loader(spec(50))
    assert loader.steps_per_epoch == 12
    batch = next(loader.train(0))
    assert batch.images is not None
    assert batch.images.shape == (50, 3, 64, 64)
    assert len(set(batch.labels.tolist())) > 5
    served = list(loader.test())
    assert sum(len(batch.labels) for batch in served) == 200
    assert pixels(iter(served)).mean().abs() < 0.3
