"""Published small sets: their info are known, their files are read by torchvision's own classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from layerpar.datasets.augment import Augment
from layerpar.datasets.base import DatasetInfo, Loader, LoaderSpec, default_root, limited
from layerpar.datasets.catalogue import SOURCES
from layerpar.datasets.download import obtain
from layerpar.datasets.memory import MemoryDataset, Pixels
from layerpar.errors import require_choice


@dataclass(kw_only=True)
class Published(MemoryDataset):
    """A set that torchvision knows, held in memory.

    Attributes:
        source: The class of `torchvision.datasets` that reads it.
        root: Folder with the files in that class's layout; null for `$LAYERPAR_DATA/NAME`, else `data/NAME`.
        verify_checksums: Refuse files that differ from the published ones. False accepts a repacked set, of
            which only sizes and shapes are checked. Either way nothing that a file holds is executed.
        augment: How training images are varied.
    """

    slow_imports: ClassVar[tuple[str, ...]] = ("torchvision.datasets",)

    source: str
    root: str | None
    verify_checksums: bool
    augment: Augment

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("dataset.source", self.source, SOURCES)

    @property
    def pixels(self) -> Pixels:
        source = SOURCES[self.source]
        return Pixels(source.input_shape, source.mean, source.std)

    @property
    def variation(self) -> Augment:
        return self.augment

    def info(self) -> DatasetInfo:
        """Constants, once the files are there (downloaded if need be) and are what they should be.

        Raises:
            UserError: a file is missing and cannot be downloaded, is cut short, or is not the published one.
        """
        source = SOURCES[self.source]
        missing = source.missing(self._folder)
        if missing is not None:
            obtain(source, self._folder, missing)
        source.check(self._folder, checksums=self.verify_checksums)
        train, test = limited(source.num_train, self.train_limit), limited(source.num_test, self.test_limit)
        held = self.num_validation(train)
        return DatasetInfo(source.input_shape, source.num_classes, train - held, test, held)

    def loader(self, spec: LoaderSpec) -> Loader:
        """Read the files that `info` has checked.

        Raises:
            UserError: a file does not hold what it should.
        """
        source = SOURCES[self.source]
        train, test = source.read(self._folder)
        num_train = limited(source.num_train, self.train_limit)
        return self.serve(
            train.first(num_train),
            test.first(limited(source.num_test, self.test_limit)),
            spec,
            validation=self.num_validation(num_train),
        )

    @property
    def _folder(self) -> Path:
        return default_root(self.name) if self.root is None else Path(self.root).expanduser()
