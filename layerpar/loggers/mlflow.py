"""MLflow: into a folder (`mlflow ui --backend-store-uri FOLDER` shows it), or to a tracking server."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from layerpar.loggers.base import Logger
from layerpar.paths import RunDirectory

DEFAULTS = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
"""Of its environment: newer releases refuse a folder and call home, unless told otherwise."""


@dataclass(kw_only=True)
class MLflow(Logger):
    """A run of MLflow's for every run; phases and `layerpar resume` go on with it.

    Attributes:
        uri: A folder, or a tracking server's `http://…`.
        experiment: MLflow's name for what the runs belong to.
    """

    requires: ClassVar[Mapping[str, str]] = {"mlflow": "layerpar[mlflow]"}

    uri: str
    experiment: str

    def start(self, directory: RunDirectory, settings: Mapping[str, Any]) -> None:
        for variable, value in DEFAULTS.items():
            os.environ.setdefault(variable, value)
        from mlflow.tracking import MlflowClient  # only here: slow to import

        place = self.uri if "://" in self.uri else Path(self.uri).absolute().as_uri()
        self._client = MlflowClient(tracking_uri=place)
        known = directory.logger / "mlflow_run_id"
        if known.exists():
            self._run = known.read_text()
            self._client.update_run(self._run, status="RUNNING")
            return
        found = self._client.get_experiment_by_name(self.experiment)
        number = self._client.create_experiment(self.experiment) if found is None else found.experiment_id
        self._run = self._client.create_run(number, run_name=directory.root.name).info.run_id
        directory.logger.mkdir(exist_ok=True)
        known.write_text(self._run)
        self._client.set_tag(self._run, "layerpar.directory", str(directory.root))
        for key, value in settings.items():
            self._client.log_param(self._run, key, value)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def finish(self, *, failed: bool) -> None:
        self._client.set_terminated(self._run, status="FAILED" if failed else "FINISHED")
