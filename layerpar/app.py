"""The commands that run something: `train` and `compare`, which Hydra composes, and `resume`.

Imports no torch until a run begins.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from layerpar.compose import choice, compose_and_call, composition, is_sweep, output_directory
from layerpar.errors import UserError, require
from layerpar.optimized import direction, value
from layerpar.session import Session, carrying_out, current

if TYPE_CHECKING:
    from layerpar.run import Outcome
    from layerpar.variants import Planned

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
        What a sweeper optimises, see `layerpar.optimized`; None of a run that is no member of a sweep.

    Raises:
        UserError: the run was refused, where only this tells the process that asked.
    """
    session = current() or Session("train", (), time.time())
    launcher, root = choice("launcher"), output_directory()
    if launcher != "basic":
        composed.launcher.runs_alone = False
        if HydraConfig.get().job.num == 0:
            Console(stderr=True).print(SHARED.format(launcher), soft_wrap=True)
    files = composition(composed)
    if not is_sweep():
        outcome = session.run(composed, root, label=_label(composed), one_of_several=False, composition=files)
        if outcome.status == "done":
            from layerpar.results.show import show_run  # pandas and matplotlib: only once there is a result

            if outcome.before:
                session.print("done before; nothing was left to do")
            show_run(outcome.directory.root, session.console)
        return None
    _check_direction(composed.optimized_metric)
    root = _member_directory(composed, root, below=Path(HydraConfig.get().sweep.dir))
    outcome = session.run(composed, root, label=root.name, one_of_several=True, composition=files)
    if outcome.status == "refused" and current() is None and choice("sweeper") == "basic":
        raise UserError(f"{root.name} refused: {outcome.message}")
    return value(outcome.directory, composed.optimized_metric, done=outcome.status == "done")


def _check_direction(metric: str | None) -> None:
    """Refuse a sweeper that would search for the worst.

    Raises:
        UserError: it would.
    """
    given, wanted = HydraConfig.get().sweeper.get("direction"), direction(metric)
    require(
        getattr(given, "name", given) in (None, wanted),
        f"{metric or 'accuracy'} is what to {wanted}; try hydra.sweeper.direction={wanted}",
    )


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
    from layerpar.variants import plan

    for argument in arguments:
        key, _, chosen = argument.lstrip("+").partition("=")
        if key.startswith("hydra/"):
            _require_one_at_a_time(key.removeprefix("hydra/"), chosen)
    planned: list[Planned] = []
    written: dict[Path, Mapping[str, str]] = {}
    errors: list[UserError] = []
    tune: Any = {}

    def task(composed: DictConfig) -> None:
        tune.update(OmegaConf.to_container(composed.tune or OmegaConf.create()))
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
        if tune:
            _require_one_network(planned)
        if session.directory is not None:
            with _locked(session.directory, session.key):
                for folder, files in written.items():
                    folder.mkdir(exist_ok=True)
                    for name, text in files.items():
                        (folder / name).write_text(text)
                session.series.total = len(planned)
                for run in planned:
                    root = _member_directory(run.variant.composed, run.root, below=session.directory)
                    with run.surroundings():
                        session.run(run.variant.composed, root, label=run.label, one_of_several=True)
    _choose(session, planned, tune)
    return max((EXIT_CODES[outcome.status] for outcome in session.outcomes), default=0)


def _require_one_network(planned: Sequence[Planned]) -> None:
    """Refuse to choose one setting for several networks: trials are repeated over seeds alone."""
    seeds = {run.variant.composed.seed for run in planned}
    trials = {(run.variant.name, run.variant.settings) for run in planned}
    require(
        len(planned) == len(seeds) * len(trials),
        "tune chooses for one network and data set; sweep nothing but the seed, as in -m seed=1000,1001",
    )


def _choose(session: Session, planned: Sequence[Planned], tune: Mapping[str, Any]) -> None:
    """Choose among the trials of a comparison, if it has any, write it down and say it."""
    from layerpar.tune import Trial, record

    trials = []
    for run, outcome in zip(planned, session.outcomes, strict=True):
        variant, done = run.variant, outcome.status == "done"
        if variant.settings is not None:
            metric = variant.composed.optimized_metric
            score = value(outcome.directory, metric, done=done)
            trials.append(
                Trial(variant.name, variant.own, variant.settings, variant.composed.seed, score, done)
            )
    if trials and session.directory is not None:
        larger = direction(metric) == "maximize"
        words = metric or "validation_accuracy"
        for line in record(
            session.directory, trials, metric=words, larger=larger, same=tune.get("same") or {}
        ):
            session.print(line)


def _require_one_at_a_time(group: str, chosen: str) -> None:
    """Refuse another way to run jobs of a comparison than one after the other."""
    require(group not in ("launcher", "sweeper") or chosen == "basic", ALONE.format(group, chosen))


def resume(arguments: list[str], *, started: float) -> int:
    """`layerpar resume`: go on with a run that was stopped. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="layerpar resume",
        description="Go on with a stopped run from its last checkpoint.",
        epilog="Every checkpoint_every epochs all workers write RUN_DIR/checkpoint, outside the clock. From "
        "there a run that was killed, interrupted or lost a worker ends with the weights of one that "
        "was never stopped, bit for bit. A damaged or foreign checkpoint is refused. With epochs=N it"
        " ends after N epochs instead, its learning rate from the checkpoint on as in a run that was "
        "planned for N; a run that is done needs keep_checkpoint=true for that. workers=N is for "
        "modes whose result does not depend on it.",
    )
    parser.add_argument("directory", type=Path, metavar="RUN_DIR", help="the run's directory")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="epochs=N, workers=N")
    given = parser.parse_args(arguments)
    changes = dict(_change(text) for text in given.changes)
    from layerpar.results.show import show_run
    from layerpar.resume import resume as go_on

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
