"""A flat validation folder gets its labels from the development kit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from picture_files import encoded, options, picture, write_folder

from layerpar.datasets.imagenet import DEVKIT, ImageNet
from layerpar.errors import UserError

WNIDS = ("n03", "n01", "n02")
TRUTH = [1, 3, 3, 2, 1]
"""IDs; ID i is `WNIDS[i - 1]`, so that numbers and sorted names disagree as they do in ImageNet."""


def write_devkit(root: Path) -> Path:
    folder = root / DEVKIT / "data"
    folder.mkdir(parents=True)
    rows = [(number, wnid, "words", "gloss", 0) for number, wnid in enumerate((*WNIDS, "n99"), start=1)]
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    scipy.io.savemat(folder / "meta.mat", {"synsets": np.array(rows, dtype=fields)})
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{i}\n" for i in TRUTH))
    return folder


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Training folders, and five validation pictures as the archive unpacks them."""
    write_folder(tmp_path, classes=WNIDS)
    for path in sorted((tmp_path / "val").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    for number in range(1, len(TRUTH) + 1):
        content = encoded(picture(number))
        (tmp_path / "val" / f"ILSVRC2012_val_{number:08d}.JPEG").write_bytes(content)
    return tmp_path


def imagenet(root: Path) -> ImageNet:
    return ImageNet(**options(root))  # type: ignore[arg-type]


def refusal(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        imagenet(root).info()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_class_folders_need_no_development_kit(tmp_path: Path) -> None:
    info = imagenet(write_folder(tmp_path, classes=WNIDS)).info()
    assert (info.num_classes, info.num_train, info.num_test) == (3, 24, 9)


def test_flat_pictures_are_labelled_by_their_number(flat: Path) -> None:
    write_devkit(flat)
    dataset = imagenet(flat)
    assert dataset.info().num_test == 5
    assert dataset.classes == ["n01", "n02", "n03"]
    assert dataset.test_pictures().labels.tolist() == [2, 1, 1, 0, 2]
    assert dataset.test_pictures().path(3) == flat / "val" / "ILSVRC2012_val_00000004.JPEG"


def test_a_part_of_the_flat_pictures_keeps_its_labels(flat: Path) -> None:
    write_devkit(flat)
    (flat / "val" / "ILSVRC2012_val_00000001.JPEG").unlink()
    assert imagenet(flat).test_pictures().labels.tolist() == [1, 1, 0, 2]


def test_flat_without_a_development_kit(flat: Path) -> None:
    message = refusal(flat)
    assert "is flat and" in message
    assert message.endswith(f"unpack {DEVKIT}.tar.gz into {flat}, or try dataset.root=FOLDER")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("meta.mat", b""),
        ("meta.mat", b"no matrix" * 100),
        ("ILSVRC2012_validation_ground_truth.txt", b"1\n2\nthree\n"),
        ("ILSVRC2012_validation_ground_truth.txt", b"1\n2\n9999\n"),
        ("ILSVRC2012_validation_ground_truth.txt", b"\xff\xfe"),
    ],
)
def test_a_spoilt_development_kit(flat: Path, name: str, content: bytes) -> None:
    path = write_devkit(flat) / name
    path.write_bytes(content)
    assert refusal(flat).startswith(f"{path} cannot be read")


@pytest.mark.parametrize("name", ["ILSVRC2012_val_00000006.JPEG", "ILSVRC2012_val_00000000.JPEG", "cat.JPEG"])
def test_a_picture_that_the_development_kit_does_not_know(flat: Path, name: str) -> None:
    write_devkit(flat)
    (flat / "val" / name).write_bytes(b"")
    assert f"{name} has no number from 1 to 5 in its name" in refusal(flat)


def test_flat_pictures_of_a_class_that_is_not_trained(flat: Path) -> None:
    folder = write_devkit(flat)
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n4\n3\n2\n1\n")
    message = refusal(flat)
    assert "of 1 classes such as n99" in message
    assert message.endswith("try dataset.root=FOLDER")


def test_no_val_at_all(flat: Path) -> None:
    for path in (flat / "val").iterdir():
        path.unlink()
    assert "has no class folders" in refusal(flat)
    (flat / "val").rmdir()
    assert "has no folder val or test" in refusal(flat)
