"""A folder of class folders is listed in one order, or refused with one line that says what to repair."""

from __future__ import annotations

from pathlib import Path

import pytest
from picture_files import image_folder, write_folder

from layerpar.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pictures")


def refusal(root: Path, **changes: object) -> str:
    with pytest.raises(UserError) as caught:
        image_folder(root, **changes).info()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_facts_come_from_listing_alone(root: Path) -> None:
    for path in root.rglob("*.JPEG"):
        path.write_bytes(b"never opened")
    info = image_folder(root).info()
    assert info.input_shape == (3, 8, 8)
    assert (info.num_classes, info.num_train, info.num_test) == (3, 24, 9)


def test_labels_are_places_of_sorted_names(root: Path) -> None:
    folder = image_folder(root)
    assert folder.classes == ["a", "b", "c"]
    pictures = folder.test_pictures()
    assert [path.relative_to(root).as_posix() for path in map(pictures.path, range(4))] == [
        "val/a/a_0.JPEG",
        "val/a/a_1.JPEG",
        "val/a/a_2.JPEG",
        "val/b/b_0.JPEG",
    ]
    assert pictures.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_the_test_split_may_be_called_test(root: Path) -> None:
    (root / "val").rename(root / "test")
    assert image_folder(root).info().num_test == 9


def test_the_test_split_may_lack_classes_but_keeps_their_labels(root: Path) -> None:
    for path in (root / "val" / "b").iterdir():
        path.unlink()
    (root / "val" / "b").rmdir()
    assert image_folder(root).test_pictures().labels.tolist() == [0, 0, 0, 2, 2, 2]


def test_other_and_hidden_files_are_passed_over(root: Path) -> None:
    for name in ("notes.txt", ".hidden.jpg", "._b_0.JPEG", "Thumbs.db"):
        (root / "train" / "b" / name).write_bytes(b"x")
    (root / "train" / ".cache").mkdir()
    (root / "train" / "list.csv").write_text("x")
    (root / "train" / "b" / "more.PNG").write_bytes(b"x")
    assert image_folder(root).info().num_train == 25


def test_pictures_may_lie_one_folder_deeper(root: Path) -> None:
    shallow = image_folder(root)
    for folder in (path for split in ("train", "val") for path in (root / split).iterdir()):
        deeper = folder / "images"
        deeper.mkdir()
        for path in folder.glob("*.JPEG"):
            path.rename(deeper / path.name)
        (folder / f"{folder.name}_boxes.txt").write_text("not a picture")
    deep = image_folder(root)
    for one, other in zip(shallow._splits, deep._splits, strict=True):
        assert one.labels.equal(other.labels)
        assert [one.path(index).name for index in range(len(one))] == [
            other.path(index).name for index in range(len(other))
        ]
        assert len(other) == 0 or other.path(0).parent == other.folder / "a" / "images"


def tiny_imagenet(root: Path) -> Path:
    """Lay the validation pictures out as Tiny ImageNet does; where its list is."""
    (root / "val" / "images").mkdir()
    lines = []
    for path in sorted((root / "val").glob("?/*.JPEG"), key=lambda path: path.name[::-1]):
        lines.append(f"{path.name}\t{path.parent.name}\t0\t0\t63\t63\n")
        path.rename(root / "val" / "images" / path.name)
    for name in "abc":
        (root / "val" / name).rmdir()
    annotations = root / "val" / "val_annotations.txt"
    annotations.write_text("".join(lines))
    return annotations


def test_tiny_imagenet_as_it_unpacks(root: Path) -> None:
    expected = image_folder(root).test_pictures()
    tiny_imagenet(root)
    found = image_folder(root).test_pictures()
    assert found.labels.equal(expected.labels)
    names = [expected.path(index).name for index in range(len(expected))]
    assert [found.path(index) for index in range(len(found))] == [
        root / "val" / "images" / name for name in names
    ]


@pytest.mark.parametrize("line", ["nothing", "x.JPEG\ta", "a_0.JPEG\tz", ""])
def test_a_line_that_names_no_picture_or_class(root: Path, line: str) -> None:
    annotations = tiny_imagenet(root)
    annotations.write_text(annotations.read_text() + line + "\n")
    assert refusal(root).startswith(f"{annotations} line 10 names no picture of {root}/val/images and class")


def test_names_need_not_be_ascii(root: Path) -> None:
    folder = root / "train" / "собака"
    folder.mkdir()
    (folder / "щенок 1.jpg").write_bytes(b"x")
    found = image_folder(root)
    train, _, _ = found._splits
    assert train.path(len(train) - 1) == folder / "щенок 1.jpg"
    assert found.info().num_classes == 4


def test_limits_keep_every_class(root: Path) -> None:
    folder = image_folder(root, train_limit=6, test_limit=3)
    info = folder.info()
    assert (info.num_train, info.num_test) == (6, 3)
    train, _, test = folder._splits
    assert train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert test.labels.tolist() == [0, 1, 2]
    assert train.path(1).name == "a_4.JPEG"


def test_a_limit_above_the_number_of_pictures_takes_all(root: Path) -> None:
    assert image_folder(root, train_limit=1000).info().num_train == 24


def test_a_null_root_follows_the_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERPAR_DATA", str(root.parent))
    assert image_folder(root, root=None).info().num_train == 24


@pytest.mark.parametrize("missing", ["", "train"])
def test_no_training_pictures(root: Path, missing: str) -> None:
    nowhere = root / "nowhere" if missing == "" else root / "val"
    message = refusal(nowhere)
    assert message.startswith(f"{nowhere}/train cannot be listed (No such file or directory)")
    assert message.endswith(f"put the pictures into {nowhere}/train/CLASS/, or try dataset.root=FOLDER")


def test_no_test_pictures(root: Path) -> None:
    (root / "val").rename(root / "elsewhere")
    assert "has no folder val or test" in refusal(root)


def test_no_class_folders(root: Path) -> None:
    (root / "flat" / "train").mkdir(parents=True)
    (root / "flat" / "train" / "x.jpg").write_bytes(b"x")
    assert "train has no class folders" in refusal(root / "flat")


def test_a_class_without_pictures(root: Path) -> None:
    (root / "train" / "empty").mkdir()
    assert "empty holds no picture; remove it, or try dataset.root=FOLDER" in refusal(root)


def test_a_test_class_that_is_not_trained(root: Path) -> None:
    (root / "val" / "d").mkdir()
    assert "val/d is no class of the training set" in refusal(root)


def test_a_file_in_place_of_the_split(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("")
    assert "cannot be listed (Not a directory)" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "repair"),
    [
        ("size", 0, "dataset.size=1"),
        ("resize", 7, "dataset.resize=8"),
        ("decode_workers", -1, "dataset.decode_workers=0"),
        ("prefetch", 0, "dataset.prefetch=1"),
        ("corrupt", "ignore", "dataset.corrupt=error"),
        ("train_limit", 0, "dataset.train_limit=null"),
        ("test_limit", -3, "dataset.test_limit=null"),
    ],
)
def test_senseless_values(root: Path, key: str, value: object, repair: str) -> None:
    assert f"dataset.{key}={value}" in refusal(root, **{key: value})
    assert repair in refusal(root, **{key: value})
