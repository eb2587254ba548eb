"""The contract of a logger: where the numbers of a run go beside `metrics.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

from layerpar.errors import require
from layerpar.paths import RunDirectory


@dataclass(kw_only=True)
class Logger:
    """Logs nothing. A logger is a subclass in one file, and one YAML.

    It is asked on the rank that writes the records, while no clock runs. Whatever it raises ends the logger
    with a warning, never the run.

    Attributes:
        name: The choice.
    """

    requires: ClassVar[Mapping[str, str]] = {}
    """The packages it imports, and what to install for each."""

    name: str

    def check(self) -> None:
        """Refuse what cannot work, before anything starts.

        Raises:
            UserError: a package is missing.
        """
        for package, install in self.requires.items():
            require(
                find_spec(package) is not None,
                f"logger={self.name} needs the package {package} (pip install '{install}'); try logger=none",
            )

    def start(self, directory: RunDirectory, settings: Mapping[str, Any]) -> None:
        """A run begins, or goes on: another phase, or after `layerpar resume`.

        Args:
            directory: The run's; files of the logger's own belong into `directory.logger`.
            settings: Those that took effect, flat.
        """

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Finite numbers after so many optimizer steps, by names such as `train/train_loss`."""

    def finish(self, *, failed: bool) -> None:
        """Nothing more is to come, unless `start` is called again.

        Args:
            failed: The run ends badly here: its loss is no number any more, or something broke.
        """
