"""Any folder of class folders with pictures in them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from layerpar.datasets.base import Dataset, DatasetInfo, Loader, LoaderSpec, default_root, held_out
from layerpar.datasets.pictures import (
    ANNOTATIONS,
    Pictures,
    annotated_pictures,
    class_folders,
    list_pictures,
)
from layerpar.errors import require, require_at_least, require_choice


@dataclass(kw_only=True)
class ImageFolder(Dataset):
    """Pictures in `train/CLASS/` and `val/CLASS/` (or `test/CLASS/`), decoded as they are needed.

    They may also lie one folder deeper (`train/CLASS/images/`). Tiny ImageNet is read as it unpacks: its
    `val/val_annotations.txt` tells the classes of the pictures in `val/images/`.

    A label is the place of its class's name among the sorted ones in `train`. Limits take pictures at even
    distances over all classes. Training pictures are cropped at random (Szegedy et al. 2015, arXiv 1409.4842)
    and mirrored, test pictures resized and cropped in the middle: torchvision's reference recipe.

    Attributes:
        root: Folder with the splits; null for `$LAYERPAR_DATA/NAME`, else `data/NAME`.
        size: Height and width of a sample in pixels.
        resize: Shorter side of a test picture before its middle is cropped.
        decode_workers: Processes that decode for one worker; 0 for the worker itself. Changes no pixel.
        prefetch: Batches that each of them decodes ahead.
        corrupt: `error` ends the run at the first picture that cannot be read; `skip` puts the next one of
            its class in its place, with a warning.
    """

    root: str | None
    size: int
    resize: int
    decode_workers: int
    prefetch: int
    corrupt: str

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least("dataset.size", self.size, 1)
        require_at_least("dataset.resize", self.resize, self.size)
        require_at_least("dataset.decode_workers", self.decode_workers, 0)
        require_at_least("dataset.prefetch", self.prefetch, 1)
        require_choice("dataset.corrupt", self.corrupt, ("error", "skip"))

    @property
    def is_random(self) -> bool:
        return True

    @property
    def num_decoders(self) -> int:
        return self.decode_workers

    def info(self) -> DatasetInfo:
        """What listing the folders tells; no picture is opened.

        Raises:
            UserError: a folder is missing, empty or of an unknown class.
        """
        train, validation, test = self._splits
        shape = (3, self.size, self.size)
        return DatasetInfo(shape, len(self.classes), len(train), len(test), len(validation))

    def loader(self, spec: LoaderSpec) -> Loader:
        from layerpar.datasets.decoding_loader import DecodingLoader

        train, validation, test = self._splits
        return DecodingLoader(
            train,
            validation,
            test,
            spec=spec,
            size=self.size,
            resize=self.resize,
            processes=self.decode_workers,
            prefetch=self.prefetch,
            skip_corrupt=self.corrupt == "skip",
        )

    @property
    def folder(self) -> Path:
        """Where the splits are."""
        return default_root(self.name) if self.root is None else Path(self.root).expanduser()

    @cached_property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of their labels."""
        return class_folders(self.folder / "train")

    def test_pictures(self) -> Pictures:
        """All test pictures."""
        annotations = self.folder / "val" / ANNOTATIONS
        if annotations.is_file():
            return annotated_pictures(self.folder / "val", annotations, self.classes)
        names = [name for name in ("val", "test") if (self.folder / name).is_dir()]
        require(
            bool(names),
            f"{self.folder} has no folder val or test; put the pictures into {self.folder}/val/CLASS/, "
            "or try dataset.root=FOLDER",
        )
        return list_pictures(self.folder / names[0], self.classes)

    @cached_property
    def _splits(self) -> tuple[Pictures, Pictures, Pictures]:
        """To train on, held out for validation, and to test."""
        train = list_pictures(self.folder / "train", self.classes).evenly(self.train_limit)
        parts = held_out(len(train), self.num_validation(len(train)))
        trained, held = (train.chosen(part) for part in parts)
        return trained, held, self.test_pictures().evenly(self.test_limit)
