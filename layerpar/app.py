"""The commands that run something: `train` and `compare`, which Hydra composes, and `resume`.

Imports no torch until a run begins.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from layerpar.compose import choice, compose_and_call, composition, is_sweep, output_directory
from layerpar.errors import UserError, require
from layerpar.measure.writing import naming
from layerpar.session import Session, carrying_out, current

if TYPE_CHECKING:
    from layerpar.run import Outcome

ALONE = (
    "compare times one run after the other; leave out hydra/{}={}. "
    "On a cluster: salloc -N2 --exclusive layerpar compare launcher=slurm …"
)
EXIT_CODES = {"done": 0, "failed": 1, "diverged": 1, "refused": 2}
SHARED = "hydra/launcher={} runs several at once on a machine: all are marked contended; do not quote seconds"


def train(arguments: list[str], *, started: float) -> int:
    """`layerpar train`: one run, or with -m a sweep. Returns the exit code."""
    with carrying_out(Session("train", arguments, started)) as session:
        compose_and_call("train", arguments, train_task)
    if session.directory is None:
        return _exit_code(session, session.outcomes[0]) if session.outcomes else 0
    statuses = [outcome.status for outcome in session.outcomes] or _statuses_below(session.directory)
    return max((EXIT_CODES.get(status, 1) for status in statuses), default=0)


def train_task(composed: DictConfig) -> float | None:
    """One job of `layerpar train`, in whatever process Hydra's launcher calls it.

    Returns:
        What a sweeper optimises, see `optimized_metric`; None where the run has not come to it.

    Raises:
        UserError: the run has not ended well, where only this tells a sweeper or the process that asked.
    """
    session = current() or Session("train", (), time.time())
    launcher, root = choice("launcher"), output_directory()
    if launcher != "basic":
        composed.launcher.runs_alone = False
        if HydraConfig.get().job.num == 0:
            Console(stderr=True).print(SHARED.format(launcher), soft_wrap=True)
    files = composition(composed)
    if not is_sweep():
        outcome = session.run(composed, root, label=_label(composed), again=False, composition=files)
        if outcome.status == "done":
            from layerpar.results.show import show_run  # pandas and matplotlib: only once there is a result

            show_run(outcome.directory.root, session.console)
        return None
    root = _member_directory(composed, root, below=Path(HydraConfig.get().sweep.dir))
    outcome = session.run(composed, root, label=root.name, again=True, composition=files)
    elsewhere = current() is None and outcome.status == "refused"
    if outcome.status != "done" and (elsewhere or choice("sweeper") != "basic"):
        raise UserError(f"{root.name} {outcome.status}: {outcome.message}")
    return _optimized(outcome, composed.optimized_metric) if outcome.status == "done" else None


def _label(composed: DictConfig) -> str:
    """What a single run is called while it is shown: its phases, or its mode."""
    phases = OmegaConf.select(composed, "phases")
    if isinstance(phases, DictConfig) and phases:
        return " → ".join(map(str, phases))
    return str(OmegaConf.select(composed, "mode.name"))


def compare(arguments: list[str], *, started: float) -> int:
    """`layerpar compare`: the same work in every way that `variants` lists. Returns the exit code.

    Hydra's jobs only plan, so that a mistake in the last one is found before the first one starts.
    """
    from layerpar.variants import Planned, plan

    for argument in arguments:
        key, _, chosen = argument.lstrip("+").partition("=")
        if key.startswith("hydra/"):
            _require_one_at_a_time(key.removeprefix("hydra/"), chosen)
    planned: list[Planned] = []
    written: dict[Path, Mapping[str, str]] = {}
    errors: list[UserError] = []

    def task(composed: DictConfig) -> None:
        job, root = HydraConfig.get(), output_directory()
        if not is_sweep():
            session.directory, session.key = root, "hydra.run.dir"
            for group in ("launcher", "sweeper"):
                _require_one_at_a_time(group, choice(group))
        places = [override for override in job.overrides.hydra if override.startswith("hydra.searchpath")]
        try:
            prefix = f"{root.name}/" if is_sweep() else ""
            planned.extend(plan(composed, [*places, *job.overrides.task], root, prefix=prefix))
            written[root / ".hydra"] = composition(composed)
        except UserError as error:  # Hydra would announce it in lines of its own
            errors.append(error)

    with carrying_out(Session("compare", arguments, started)) as session:
        compose_and_call("compare", arguments, task)
        if errors:
            session.directory = None
            raise errors[0]
        if session.directory is not None:
            with _locked(session.directory, session.key):
                for folder, files in written.items():
                    folder.mkdir(exist_ok=True)
                    for name, text in files.items():
                        with naming(folder / name):
                            (folder / name).write_text(text)
                session.series.total = len(planned)
                for run in planned:
                    root = _member_directory(run.composed, run.root, below=session.directory)
                    with run.surroundings():
                        session.run(run.composed, root, label=run.label, again=True)
    return max((EXIT_CODES[outcome.status] for outcome in session.outcomes), default=0)


def _require_one_at_a_time(group: str, chosen: str) -> None:
    """Refuse another way to run jobs of a comparison than one after the other."""
    require(group not in ("launcher", "sweeper") or chosen == "basic", ALONE.format(group, chosen))


def resume(arguments: list[str], *, started: float) -> int:
    """`layerpar resume`: go on with a run that was stopped. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="layerpar resume",
        description="Go on with a stopped run from its last checkpoint.",
        epilog="With epochs=N it ends after N epochs instead, its learning rate from the checkpoint on as in "
        "a run that was planned for N; a run that is done needs keep_checkpoint=true for that. workers=N is "
        "for modes whose result does not depend on it.",
    )
    parser.add_argument("directory", type=Path, metavar="RUN_DIR", help="the run's directory")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="epochs=N, workers=N")
    given = parser.parse_args(arguments)
    changes = dict(_change(text) for text in given.changes)
    from layerpar.results.show import show_run
    from layerpar.run import resume as go_on

    with carrying_out(Session("resume", arguments, started)) as session:
        outcome = go_on(given.directory, changes, session.console, started=started)
        session.outcomes.append(outcome)
    if outcome.status == "done":
        show_run(outcome.directory.root, session.console)
    return _exit_code(session, outcome)


def _change(text: str) -> tuple[str, int]:
    key, _, value = text.partition("=")
    require(
        key in ("epochs", "workers") and value.isdigit() and int(value) > 0,
        f"{text} cannot be changed; try epochs=N or workers=N",
    )
    return key, int(value)


@contextmanager
def _locked(directory: Path, key: str) -> Iterator[None]:
    """Within, no other command compares in this directory.

    Raises:
        UserError: one does, or it is a run's own.
    """
    from layerpar.measure.status import exclusive_lock
    from layerpar.paths import RunDirectory

    own = RunDirectory(directory)
    require(not own.run_yaml.exists(), f"{directory} already holds a run; try {key}=ANOTHER")
    with exclusive_lock(own):
        yield


def _member_directory(composed: DictConfig, root: Path, *, below: Path) -> Path:
    """Where a member of a sweep runs: where this very run was begun before, else a directory of its own.

    Its number changes with the members beside it, so an earlier one is found by what it is.
    """
    text = OmegaConf.to_yaml(composed, resolve=True)
    for path in sorted(below.rglob("run.yaml")):
        if path.read_text() == text:
            if path.parent != root and root.is_dir() and not any(root.iterdir()):
                root.rmdir()  # Hydra's, for the new number
            return path.parent
    place, number = root, 2
    while _holds_run(place):
        place, number = root.with_name(f"{root.name}-{number}"), number + 1
    return place


def _holds_run(place: Path) -> bool:
    from layerpar.measure.status import read_status
    from layerpar.paths import RunDirectory

    status = RunDirectory(place).status
    return status.exists() and read_status(RunDirectory(place))["status"] != "refused"


def _statuses_below(directory: Path) -> list[str]:
    """Of the runs that other processes have run."""
    from layerpar.measure.status import current_status
    from layerpar.paths import RunDirectory

    return [current_status(RunDirectory(path.parent))["status"] for path in directory.rglob("status.json")]


def _optimized(outcome: Outcome, metric: str | None) -> float | None:
    """The number of a finished run that a sweeper is told: the larger for accuracy, the smaller for time."""
    summary = json.loads(outcome.directory.summary.read_text())
    if metric is None:
        metric = "validation_accuracy" if summary.get("validation_accuracy") is not None else "test_accuracy"
    value = summary[metric]
    return math.inf if value is None else float(value)


def _exit_code(session: Session, outcome: Outcome) -> int:
    """Of a command that ran a single run; says what went wrong.

    Raises:
        UserError: the run was refused.
    """
    if outcome.status == "refused":
        raise UserError(str(outcome.message))
    if outcome.message is not None:
        text = f"layerpar: {outcome.status}: {outcome.message}"
        Console(stderr=True).print(text, soft_wrap=True, markup=False, highlight=False)
        session.print(f"run directory: {outcome.directory.root}")
    return EXIT_CODES[outcome.status]
