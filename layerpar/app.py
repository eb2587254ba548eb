"""The commands that run one network: `train`, which Hydra composes, and `resume`.

Imports no torch until a run begins.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from layerpar.compose import choice, compose_and_call, composition, is_sweep, output_directory
from layerpar.errors import UserError, require
from layerpar.members import EXIT_CODES, member_directory, statuses_below
from layerpar.optimized import direction, value
from layerpar.results.show_run import show_run
from layerpar.session import Session, carrying_out, current

if TYPE_CHECKING:
    from layerpar.run import Outcome

SHARED = "hydra/launcher={} runs several at once on a machine: all are marked contended; do not quote seconds"


def train(arguments: list[str], *, started: float) -> int:
    """`layerpar train`: one run, or with -m a sweep. Returns the exit code."""
    with carrying_out(Session("train", arguments, started)) as session:
        compose_and_call("train", arguments, train_task)
    if session.directory is None:
        return _exit_code(session, session.outcomes[0]) if session.outcomes else 0
    statuses = [outcome.status for outcome in session.outcomes] or statuses_below(session.directory)
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
    if launcher != "basic" and is_sweep():
        composed.launcher.runs_alone = False
        if HydraConfig.get().job.num == 0:
            Console(stderr=True).print(SHARED.format(launcher), soft_wrap=True)
    files = composition(composed)
    if not is_sweep():
        outcome = session.run(composed, root, label=_label(composed), one_of_several=False, composition=files)
        if outcome.status == "done":
            if outcome.before:
                session.print("done before; nothing was left to do")
            show_run(outcome.directory.root, session.console)
        return None
    _check_direction(composed.optimized_metric)
    root = member_directory(composed, root, below=Path(HydraConfig.get().sweep.dir))
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
    from layerpar.resume import resume as go_on

    with carrying_out(Session("resume", arguments, started)) as session:
        with session.working_on(given.directory):
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
