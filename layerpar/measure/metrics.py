"""What is measured while a run trains: `metrics.jsonl`, and the same numbers for the run's logger."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from layerpar.loggers.base import Logger
from layerpar.measure.writing import naming, strict
from layerpar.paths import RunDirectory


class MetricsLog:
    """Appends to `metrics.jsonl`, each line flushed, so that a killed run keeps what it measured.

    Args:
        directory: The run's.
        logger: Gets the finite numbers of every line that has a step, as `EVENT/NAME`. One that raises is
            lost: a line of event `warning` says so, and everything else goes on.
        settings: Of the run, for the logger.
    """

    def __init__(
        self, directory: RunDirectory, logger: Logger | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        self._path = directory.metrics
        self._file = self._path.open("a")
        self._logger = logger
        self._ask(lambda logger: logger.start(directory, settings or {}))

    def write(self, event: str, **values: Any) -> None:
        """One line; numbers that are not finite become null."""
        line = json.dumps(strict({"event": event} | values), allow_nan=False)
        with naming(self._path):
            self._file.write(line + "\n")
            self._file.flush()
        if "step" in values:
            numbers = {
                f"{event}/{name}": float(value)
                for name, value in values.items()
                if isinstance(value, int | float) and math.isfinite(value) and name != "step"
            }
            self._ask(lambda logger: logger.log(values["step"], numbers))

    def close(self, *, failed: bool = False) -> None:
        """Nothing more is to come; `failed` where the run ends badly here."""
        self._ask(lambda logger: logger.finish(failed=failed))
        self._file.close()

    def _ask(self, request: Callable[[Logger], None]) -> None:
        """Let the logger do something; one that cannot is not asked again."""
        if self._logger is None:
            return
        try:
            request(self._logger)
        except Exception as error:
            name, self._logger = self._logger.name, None
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            self.write("warning", message=f"logger={name} is lost, the run goes on ({reason})")
