"""The commands that run something: `train` and `compare`, which Hydra composes, and `resume`.

Imports no torch until a run begins.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from layerpar.errors import UserError, require
from layerpar.paths import config_directory

if TYPE_CHECKING:
    from layerpar.run import Outcome

EXIT_CODES = {"done": 0, "failed": 1, "diverged": 1, "refused": 2}
ALONE = "compare times one run after the other; leave out hydra/launcher={}"
SHARED = "hydra/launcher={} runs several at once on a machine: all are marked contended; do not quote seconds"


def train(arguments: list[str], *, started: float) -> int:
    """`layerpar train`: one run, or with -m a sweep. Returns the exit code."""
    console = Console()
    outcomes: list[Outcome] = []
    sweep: list[Path] = []

    def task(composed: DictConfig) -> None:
        root, label = _output(), " → ".join(map(str, composed.phases)) or str(composed.mode.name)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            sweep[:] = [Path(HydraConfig.get().sweep.dir)]
            label = root.name
        if _hydra_launcher() != "basic":
            composed.launcher.runs_alone = False
            if HydraConfig.get().job.num == 0:
                Console(stderr=True).print(SHARED.format(_hydra_launcher()), soft_wrap=True)
        outcome = _attempt(composed, root, console, label=label, started=time.time() if outcomes else started)
        outcomes.append(outcome)
        if sweep:
            _say(console, outcome, label=label)
        elif outcome.status == "done":
            from layerpar.results.show import show_run  # pandas and matplotlib: only once there is a result

            show_run(outcome.directory.root, console)

    with _finishing(sweep, console):
        _compose_and_call("train", arguments, task)
    if not sweep:
        _raise_or_say(console, outcomes)
    return max((EXIT_CODES[outcome.status] for outcome in outcomes), default=0)


def compare(arguments: list[str], *, started: float) -> int:
    """`layerpar compare`: the same work in every way that `variants` lists. Returns the exit code.

    Hydra's jobs only plan, so that a mistake in the last one is found before the first one starts.
    """
    from layerpar.variants import Planned, plan

    console = Console()
    root: list[Path] = []
    planned: list[Planned] = []
    errors: list[UserError] = []
    codes: list[int] = []

    def task(composed: DictConfig) -> None:
        job, launcher = HydraConfig.get(), _hydra_launcher()
        is_sweep = job.mode == RunMode.MULTIRUN
        root[:] = [Path(job.sweep.dir) if is_sweep else _output()]
        prefix = f"{_output().name}/" if is_sweep else ""
        places = [override for override in job.overrides.hydra if override.startswith("hydra.searchpath")]
        try:
            require(launcher == "basic", ALONE.format(launcher))
            planned.extend(plan(composed, [*places, *job.overrides.task], _output(), prefix=prefix))
        except UserError as error:  # Hydra would announce it in lines of its own
            errors.append(error)

    with _finishing(root, console):
        _compose_and_call("compare", arguments, task)
        if errors:
            raise errors[0]
        for number, run in enumerate(planned):
            if not run.clear_incomplete():
                console.print(f"{run.label}  done before", highlight=False)
                continue
            begun = time.time() if number else started
            outcome = _attempt(run.composed, run.root, console, label=run.label, started=begun)
            _say(console, outcome, label=run.label)
            codes.append(EXIT_CODES[outcome.status])
    return max(codes, default=0)


def resume(arguments: list[str], *, started: float) -> int:
    """`layerpar resume`: go on with a run that was stopped. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="layerpar resume", description="Go on with a stopped run from its last checkpoint."
    )
    parser.add_argument("directory", type=Path, metavar="RUN_DIR", help="the run's directory")
    given = parser.parse_args(arguments)
    from layerpar.results.show import show_run
    from layerpar.run import resume as go_on

    console = Console()
    outcome = go_on(given.directory, console, started=started)
    if outcome.status == "done":
        show_run(outcome.directory.root, console)
    _raise_or_say(console, [outcome])
    return EXIT_CODES[outcome.status]


def _attempt(composed: DictConfig, root: Path, console: Console, *, label: str, started: float) -> Outcome:
    from layerpar.config import parse
    from layerpar.paths import RunDirectory
    from layerpar.run import Outcome, execute

    try:
        config = parse(composed)
        return execute(config, composed, root, console, label=label, started=started)
    except UserError as error:
        return Outcome(RunDirectory(root), "refused", str(error))


def _hydra_launcher() -> str:
    return str(HydraConfig.get().runtime.choices["hydra/launcher"])


def _output() -> Path:
    return Path(HydraConfig.get().runtime.output_dir)


def _say(console: Console, outcome: Outcome, *, label: str) -> None:
    suffix = "" if outcome.message is None else f": {outcome.message}"
    console.print(f"{label}  {outcome.status}{suffix}", soft_wrap=True, markup=False, highlight=False)


def _raise_or_say(console: Console, outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.status == "refused":
            raise UserError(str(outcome.message))
        if outcome.message is not None:
            _say(Console(stderr=True), outcome, label="layerpar")
            console.print(f"run directory: {outcome.directory.root}", soft_wrap=True)


@contextmanager
def _finishing(directories: list[Path], console: Console) -> Iterator[None]:
    """Write table and figures of what was completed, also when the rest was interrupted."""
    from layerpar.launchers.base import Interrupted

    try:
        yield
    except Interrupted:
        _show(directories, console)
        raise
    _show(directories, console)


def _show(directories: list[Path], console: Console) -> None:
    for directory in directories:
        from layerpar.results.show import show_sweep

        show_sweep(directory, console)


def _compose_and_call(config_name: str, arguments: list[str], task: Callable[[DictConfig], None]) -> None:
    """Let Hydra compose `config_name` from the command line and call `task` once per job.

    Raises:
        UserError: what Hydra says of a bad command line, in one line.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [f"layerpar {config_name}", *arguments]
    decorated = hydra.main(version_base="1.3", config_path=str(config_directory()), config_name=config_name)
    try:
        decorated(task)()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_one_line(error)) from error
    except OSError as error:
        raise UserError(
            f"cannot write {error.filename}: {error.strerror}; try hydra.run.dir=DIRECTORY"
        ) from error


def _one_line(error: Exception) -> str:
    if isinstance(error, MissingConfigException) and error.options:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        others = ", ".join(error.options)
        return f"{group}={option} is not known; try {group}={error.options[0]} (one of {others})"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "mbiguous value" in lines[0]:
        return f"{lines[0]}; a list of values is a sweep: try layerpar train -m …"
    if "not override" in lines[0]:
        return f"{lines[0]} There is no such key; layerpar train --help lists them"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: {lines[0]}; try '{error.override.partition('=')[0]}=VALUE'"
    return " ".join(lines)
