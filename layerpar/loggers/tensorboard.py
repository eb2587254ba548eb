"""Event files for TensorBoard: `tensorboard --logdir outputs`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from layerpar.loggers.base import Logger
from layerpar.paths import RunDirectory


@dataclass(kw_only=True)
class TensorBoard(Logger):
    """A later phase or a resumed run adds a file of its own to `RUN_DIR/logger/`."""

    requires: ClassVar[Mapping[str, str]] = {"tensorboard": "layerpar[tensorboard]"}

    def start(self, directory: RunDirectory, settings: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter  # only here: slow to import

        self._writer = SummaryWriter(str(directory.logger))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()  # raises here what its thread has met

    def finish(self, *, failed: bool) -> None:
        self._writer.close()
