"""Which pictures a folder of class folders holds, listed without opening one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from layerpar.datasets.source import reading
from layerpar.errors import UserError, require

EXTENSIONS = (".jpeg", ".jpg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff")

ANNOTATIONS = "val_annotations.txt"
"""The file in which Tiny ImageNet lists its validation pictures, with the class of each."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of a split, in the order of their class and then of their name.

    Attributes:
        folder: The split's.
        names: (picture,) paths relative to `folder`, as bytes: a million of them take some 40 MB.
        labels: (picture,), int64.
    """

    folder: Path
    names: np.ndarray
    labels: Tensor

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        return self.folder / os.fsdecode(bytes(self.names[index]))

    def evenly(self, limit: int | None) -> Pictures:
        """So many of them, taken at even distances, so that every class keeps its share."""
        if limit is None or limit >= len(self):
            return self
        return self.chosen(torch.arange(limit) * len(self) // limit)

    def chosen(self, indices: Tensor) -> Pictures:
        """These of them, in this order."""
        return Pictures(self.folder, self.names[indices.numpy()], self.labels[indices])


def class_folders(folder: Path) -> list[str]:
    """The names of the folders in `folder`, sorted: a class's label is its place.

    Raises:
        UserError: there is no such folder.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
            )
    except OSError as error:
        reason = f"{folder} cannot be listed ({error.strerror})"
        raise UserError(
            f"{reason}; put the pictures into {folder}/CLASS/, or try dataset.root=FOLDER"
        ) from error


def picture_files(folder: Path, *, deeper: bool = False) -> list[str]:
    """The pictures in `folder`, sorted, and those in its folders if asked for. Other files are passed over.

    Returns:
        Paths relative to `folder`.
    """
    found: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.name.lower().endswith(EXTENSIONS):
                    found.append(entry.name)
                elif deeper and entry.is_dir():
                    found += [f"{entry.name}/{name}" for name in picture_files(folder / entry.name)]
    except OSError as error:
        reason = f"{folder} cannot be listed ({error.strerror})"
        raise UserError(f"{reason}; repair it, or try dataset.root=FOLDER") from error
    return sorted(found)


def list_pictures(folder: Path, classes: list[str]) -> Pictures:
    """The pictures in the class folders of `folder` and in folders of those (`CLASS/images/`).

    Args:
        folder: The split's.
        classes: All classes there are, in the order of their labels; `folder` may lack some.

    Raises:
        UserError: a folder of another name, a class folder without pictures, or no class folder at all.
    """
    found = class_folders(folder)
    require(
        bool(found),
        f"{folder} has no class folders; put the pictures into {folder}/CLASS/, or try dataset.root=FOLDER",
    )
    known = {name: label for label, name in enumerate(classes)}
    names: list[bytes] = []
    counts = []
    for name in found:
        require(name in known, f"{folder / name} is no class of the training set; try dataset.root=FOLDER")
        pictures = picture_files(folder / name, deeper=True)
        require(bool(pictures), f"{folder / name} holds no picture; remove it, or try dataset.root=FOLDER")
        names += [os.fsencode(f"{name}/{picture}") for picture in pictures]
        counts.append(len(pictures))
    labels = torch.tensor([known[name] for name in found])
    return Pictures(folder, np.array(names), labels.repeat_interleave(torch.tensor(counts)))


def annotated_pictures(folder: Path, annotations: Path, classes: list[str]) -> Pictures:
    """The pictures in `folder/images` that a list names.

    Args:
        folder: The split's.
        annotations: A line for each picture: its name, its class, and what is passed over; between tabs.
        classes: In the order of their labels.

    Raises:
        UserError: a picture that is not there, or a class that is not among `classes`.
    """
    with reading(annotations):
        lines = [line.split("\t") for line in annotations.read_text().splitlines()]
    present = set(picture_files(folder / "images"))
    known = {name: label for label, name in enumerate(classes)}
    for number, line in enumerate(lines, start=1):
        require(
            len(line) >= 2 and line[0] in present and line[1] in known,
            f"{annotations} line {number} names no picture of {folder / 'images'} and class of the training "
            "set; repair it, or try dataset.root=FOLDER",
        )
    pairs = sorted((known[line[1]], line[0]) for line in lines)
    require(bool(pairs), f"{annotations} names no picture; repair it, or try dataset.root=FOLDER")
    names = np.array([os.fsencode(f"images/{name}") for _, name in pairs])
    return Pictures(folder, names, torch.tensor([label for label, _ in pairs]))
