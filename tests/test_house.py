"""The order of the house: imports go down only, also those for type checkers and inside functions."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import layerpar

ROOT = Path(layerpar.__file__).parent

ORDER = (
    "errors paths scratch search_path variables",
    "learning_rate loggers seeds typed",
    "measure",
    "rendezvous",
    "architectures datasets optimizers",
    "partition",
    "transport",
    "objectives aggregation",
    "spec",
    "engine",
    "layerwise pipeline sequential",
    "modes",
    "launchers",
    "config",
    "checkpoint loop phases progress",
    "scoring",
    "summary",
    "check records",
    "work",
    "trainer",
    "optimized",
    "worker compose composer",
    "worker_server",
    "run",
    "resume tune",
    "variants",
    "results",
    "doctor members session",
    "app comparison",
    "predict",
    "commands",
    "api cli",
)
"""From low to high: a package (or module of the top level) imports from the lines above its own only."""

NOT_YET: dict[str, str] = {}
"""Imports that go up all the same, with what is to be done about each."""


def modules() -> dict[str, Path]:
    """The path of every module by its name below `layerpar`, such as `modes.base`; a package's is its own."""
    paths = {path.relative_to(ROOT): path for path in ROOT.rglob("*.py")}
    return {
        ".".join(part for part in relative.with_suffix("").parts if part != "__init__"): path
        for relative, path in paths.items()
    }


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of `layerpar` that a file imports anywhere in it, below `layerpar`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            below = name.removeprefix("layerpar.")
            if below == name:
                continue
            yield below if below in known else below.rpartition(".")[0]


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    """What every module imports."""
    known = modules()
    return {name: set(imported(path, known)) - {name, ""} for name, path in known.items() if name}


def package(module: str) -> str:
    return module.partition(".")[0]


def test_every_package_has_its_place(graph: dict[str, set[str]]) -> None:
    assert {package(module) for module in graph} <= set(" ".join(ORDER).split())


def test_packages_import_from_below_only(graph: dict[str, set[str]]) -> None:
    level = {name: number for number, line in enumerate(ORDER) for name in line.split()}
    upward = {
        f"{module} → {package(target)}"
        for module, targets in graph.items()
        for target in targets
        if package(target) != package(module) and level[package(target)] >= level[package(module)]
    }
    assert upward == set(NOT_YET), "an import that goes up, or one that no longer does and leaves NOT_YET"


def test_modules_of_a_package_do_not_import_each_other_in_a_circle(graph: dict[str, set[str]]) -> None:
    for name in {package(module) for module in graph}:
        inside = {
            module: {target for target in targets if package(target) == name and target != name}
            for module, targets in graph.items()
            if package(module) == name and module != name
        }
        TopologicalSorter(inside).prepare()  # raises CycleError with the circle


@pytest.mark.parametrize("module", ["layerpar", "layerpar.app", "layerpar.cli"])
def test_no_torch_before_it_is_needed(module: str) -> None:
    heavy = {"torch", "torchvision", "pandas", "matplotlib"}
    program = f"import sys, {module}; print(*{heavy} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == ""
