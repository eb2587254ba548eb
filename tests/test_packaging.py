"""The wheel: built here, unpacked elsewhere, run from there."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, as an installer would lay it out."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder),
        str(CHECKOUT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def test_the_wheel_holds_package_and_configuration(installed: Path) -> None:
    names = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    for path in (CHECKOUT / "conf").rglob("*.yaml"):
        assert f"layerpar/conf/{path.relative_to(CHECKOUT / 'conf').as_posix()}" in names
    assert {"layerpar/cli.py", "layerpar/results/page.html"} <= names
    assert not [name for name in names if name.startswith(("tests/", "scripts/", "outputs/"))]


def test_it_runs_from_another_directory(installed: Path, tmp_path: Path) -> None:
    overrides = ["mode=layerwise", "workers=2", "epochs=1", "architecture.width=16", "architecture.depth=2"]
    command = ["import sys, layerpar; from layerpar.cli import run;"]
    command += [f"assert layerpar.__file__.startswith({str(installed)!r}), layerpar.__file__;"]
    command += ["sys.exit(run(sys.argv[1:], started=0.0))"]
    ended = subprocess.run(
        [sys.executable, "-c", " ".join(command), "train", *overrides],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    (summary,) = tmp_path.glob("outputs/*/*/summary.json")
    assert '"status": "done"' in summary.read_text()
