"""The process that forks workers: what happens when it cannot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from layerpar.launchers.base import WorkerError, worker_environment
from layerpar.launchers.fork_server import ForkServer
from layerpar.paths import RunDirectory


def test_an_import_that_fails_is_the_cause_in_its_own_words(tmp_path: Path) -> None:
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('this torch is broken')")
    environment = os.environ | worker_environment(0.0)
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]])
    server = ForkServer(environment)
    with pytest.raises(WorkerError, match="could not start workers: ImportError: this torch is broken"):
        server.fork(RunDirectory(tmp_path), environment, tmp_path)
    assert "Traceback" in (tmp_path / "stderr.log").read_text()
    server.close()
