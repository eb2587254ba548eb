"""ImageNet as the ILSVRC 2012 archives unpack."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from layerpar.datasets.image_folder import ImageFolder
from layerpar.datasets.pictures import Pictures, class_folders, picture_files
from layerpar.datasets.source import reading
from layerpar.errors import UserError, require

DEVKIT = "ILSVRC2012_devkit_t12"


@dataclass(kw_only=True)
class ImageNet(ImageFolder):
    """`train/WNID/*.JPEG`, and `val/WNID/*.JPEG` or `val/*.JPEG` as the validation archive unpacks.

    The labels of a flat `val` come from the development kit, unpacked beside it. The class folders may be
    fewer than a thousand.
    """

    def test_pictures(self) -> Pictures:
        val = self.folder / "val"
        if not val.is_dir() or class_folders(val) or not (files := picture_files(val)):
            return super().test_pictures()
        wnids = self._wnids(files)
        known = {wnid: label for label, wnid in enumerate(self.classes)}
        strangers = sorted(set(wnids) - set(known))
        require(
            not strangers,
            f"{val} holds pictures of {len(strangers)} classes such as {''.join(strangers[:1])} that "
            f"{self.folder / 'train'} lacks; remove them, or try dataset.root=FOLDER",
        )
        labels = torch.tensor([known[wnid] for wnid in wnids])
        return Pictures(val, np.array([os.fsencode(file) for file in files]), labels)

    def _wnids(self, files: list[str]) -> list[str]:
        """The class of each file of the flat `val`, which has its number in its name."""
        import scipy.io

        folder = self.folder / DEVKIT / "data"
        truth_file, meta_file = folder / "ILSVRC2012_validation_ground_truth.txt", folder / "meta.mat"
        for path in (truth_file, meta_file):
            require(
                path.is_file(),
                f"{self.folder / 'val'} is flat and {path} is missing; unpack {DEVKIT}.tar.gz into "
                f"{self.folder}, or try dataset.root=FOLDER",
            )
        with reading(meta_file):
            synsets = scipy.io.loadmat(str(meta_file), squeeze_me=True)["synsets"]
            wnids = {
                int(number): str(wnid)
                for number, wnid in zip(synsets["ILSVRC2012_ID"], synsets["WNID"], strict=True)
            }
        with reading(truth_file):
            truth = [wnids[int(line)] for line in truth_file.read_text().split()]
        return [truth[_number(self.folder / "val" / file, len(truth)) - 1] for file in files]


def _number(path: Path, count: int) -> int:
    """The number at the end of `ILSVRC2012_val_00000293.JPEG`."""
    digits = path.stem.rpartition("_")[2]
    if not digits.isdigit() or not 1 <= int(digits) <= count:
        raise UserError(
            f"{path} has no number from 1 to {count} in its name, by which the development kit labels it; "
            "rename it, or try dataset.root=FOLDER"
        )
    return int(digits)
