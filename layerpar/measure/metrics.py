"""What is measured while a run trains: `metrics.jsonl`, and the same scalars for TensorBoard (an extra)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from layerpar.errors import require
from layerpar.measure.writing import naming, strict
from layerpar.paths import RunDirectory

FLUSH_SECONDS = 5


class MetricsLog:
    """Appends to `metrics.jsonl`, each line flushed, so that a killed run keeps what it measured.

    Args:
        directory: The run's.
        tensorboard: Write the same scalars for TensorBoard.
    """

    def __init__(self, directory: RunDirectory, *, tensorboard: bool = False) -> None:
        self._path = directory.metrics
        self._file = self._path.open("a")
        self._tensorboard = TensorBoardWriter(directory.tensorboard) if tensorboard else None

    def write(self, event: str, **values: Any) -> None:
        """One line; numbers that are not finite become null."""
        line = json.dumps(strict({"event": event} | values), allow_nan=False)
        with naming(self._path):
            self._file.write(line + "\n")
            self._file.flush()
        if self._tensorboard is not None:
            self._tensorboard.write(event, values)

    def close(self) -> None:
        self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()


class TensorBoardWriter:
    """Writes event files into a folder, in the background.

    Args:
        folder: Where to; made if it is missing. A later phase or a resumed run adds a file of its own.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter  # only here: an optional package, slow to import

        self._writer = SummaryWriter(str(folder), flush_secs=FLUSH_SECONDS)

    def write(self, event: str, values: Mapping[str, Any]) -> None:
        """The finite numbers of a line of `metrics.jsonl` as `EVENT/NAME` over steps, if it has a step."""
        if "step" not in values:
            return
        for name, value in values.items():
            if isinstance(value, int | float) and math.isfinite(value) and name != "step":
                self._writer.add_scalar(f"{event}/{name}", value, values["step"])

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def check_installed() -> None:
    """Refuse `tensorboard=true` where the package is missing.

    Raises:
        UserError: it is.
    """
    require(
        find_spec("tensorboard") is not None,
        "tensorboard=true needs the package tensorboard (pip install tensorboard); try tensorboard=false",
    )
