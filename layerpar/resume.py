"""Going on with a run that was stopped; in the parent process."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from layerpar import checkpoint
from layerpar.config import load
from layerpar.errors import require
from layerpar.measure.records import read_status, write_status
from layerpar.paths import RunDirectory
from layerpar.run import Outcome, alone, carry_out, check


def resume(root: Path, console: Console, *, started: float) -> Outcome:
    """Go on with a run that was stopped, from its last checkpoint.

    Args:
        root: The run's directory.
        console: Where progress is shown.
        started: Unix time at which the command was given.

    Raises:
        UserError: there is nothing to go on with, or the run still goes on.
        Interrupted: the user or the system stopped it again.
    """
    directory = RunDirectory(root.absolute())
    require(
        directory.run_yaml.exists() and directory.status.exists(),
        f"{root} holds no run; try one of the directories that hold a {directory.run_yaml.name}",
    )
    status = read_status(directory)
    reasons = {
        "done": f"is done; try layerpar report {root}",
        "refused": f"never began ({status['message']}); try layerpar train",
        "diverged": f"would diverge again ({status['message']}); try layerpar train",
    }
    require(status["status"] not in reasons, f"{root} {reasons.get(status['status'])}")
    with alone(directory):
        folder = checkpoint.newest(directory)
        require(folder is not None, f"{root} has no checkpoint yet; try layerpar train")
        assert folder is not None
        config = load(directory.run_yaml)
        info = check(config)
        offset = checkpoint.cut_metrics(directory, folder)
        directory.summary.unlink(missing_ok=True)
        write_status(directory, "created", phase="starting")
    label = " → ".join(phase.name for phase in config.parts)
    console.print(f"{label}  goes on after epoch {folder.name} of {config.epochs}", highlight=False)
    return carry_out(config, info, directory, console, label=label, started=started, offset=offset)
