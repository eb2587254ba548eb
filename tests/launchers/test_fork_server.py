"""The process that forks workers: what happens when it cannot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from layerpar.launchers.base import WorkerError, worker_environment
from layerpar.launchers.fork_server import ForkServer
from layerpar.paths import RunDirectory


def test_workers_find_imported_what_their_data_set_needs(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("dataset: {_target_: layerpar.datasets.digits.Digits}")
    own = tmp_path / "sitecustomize.py"  # of the server: tells what it has imported before it forks
    own.write_text(
        "import os, sys\n"
        "def told(fork=os.fork):\n"
        "    open(os.environ['TOLD'], 'w').write(' '.join(sys.modules))\n"
        "    return fork()\n"
        "os.fork = told\n"
    )
    environment = os.environ | worker_environment(0.0) | {"TOLD": str(tmp_path / "told")}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]])
    server = ForkServer(environment)
    server.fork(RunDirectory(tmp_path), environment, tmp_path)
    server.close()
    assert "sklearn.model_selection" in (tmp_path / "told").read_text().split()


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
