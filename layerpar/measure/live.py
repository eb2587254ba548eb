"""The step that training has come to, told while the clock runs: one small write into a file, no JSON."""

from __future__ import annotations

import os
from pathlib import Path

from layerpar.measure.writing import naming

WIDTH = 20


class LiveStep:
    """Writes the number of the last step over the one before.

    Args:
        path: `RunDirectory.live`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def show(self, step: int) -> None:
        """So many optimizer steps of the run are done."""
        with naming(self._path):
            os.pwrite(self._file, str(step).rjust(WIDTH).encode(), 0)

    def close(self) -> None:
        """Nothing more is to come; the file goes."""
        os.close(self._file)
        self._path.unlink(missing_ok=True)


def read_live(path: Path) -> int:
    """The step that was told last, 0 where none was."""
    try:
        return int(path.read_text() or 0)
    except (FileNotFoundError, ValueError):
        return 0
