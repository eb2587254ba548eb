"""Going on with a stopped run from its last checkpoint, also for more epochs or on more workers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from layerpar import checkpoint
from layerpar.config import RunConfig, load, parse
from layerpar.errors import require
from layerpar.measure.status import exclusive_lock, read_status
from layerpar.paths import RunDirectory
from layerpar.run import Outcome, go_on


def resume(root: Path, changes: Mapping[str, int], console: Console, *, started: float) -> Outcome:
    """Go on with a run that was stopped, from its last checkpoint.

    Args:
        root: The run's directory.
        changes: `epochs` to end with, `workers`; may be empty.
        console: Where progress is shown.
        started: Unix time at which the command was given.

    Raises:
        UserError: there is nothing to go on with, the run still goes on, or a change would alter the result.
        Interrupted: the user or the system stopped it again.
    """
    directory = RunDirectory(root.absolute())
    require(
        directory.run_yaml.exists() and directory.status.exists(),
        f"{root} holds no run; try one of the directories that hold a {directory.run_yaml.name}",
    )
    with exclusive_lock(directory):
        status, name = read_status(directory), quote(str(root))
        more = status["status"] == "done" and "epochs" in changes
        reasons = {
            "done": f"is done; try layerpar report {name}, or layerpar resume {name} epochs=MORE",
            "refused": f"never began ({status['message']}); try layerpar train",
            "diverged": f"would diverge again ({status['message']}); try layerpar train",
        }
        require(more or status["status"] not in reasons, f"{root} {reasons.get(status['status'])}")
        folder = checkpoint.newest(directory)
        missing = "has no checkpoint yet; try layerpar train"
        if more:
            missing = "kept no checkpoint; try layerpar train keep_checkpoint=true"
        require(folder is not None, f"{root} {missing}")
        assert folder is not None
        before, composed = load(directory.run_yaml), OmegaConf.load(directory.run_yaml)
        assert isinstance(composed, DictConfig)
        composed.update(changes)
        config = parse(composed)
        epoch = int(folder.name)
        require(
            "epochs" not in changes or config.epochs > epoch,
            f"epochs={config.epochs} are done already; try epochs={epoch + 1}",
        )
        _check_changes(before, config)
        label = " → ".join(phase.name for phase in config.parts)
        changed = composed if changes else None
        return go_on(config, directory, folder, console, label=label, started=started, changed=changed)


def _check_changes(before: RunConfig, after: RunConfig) -> None:
    """Refuse changes that would alter what the checkpoint's epochs have come to.

    Raises:
        UserError: names the change that is one.
    """
    if after.epochs != before.epochs:
        for phase in before.parts:
            require(
                phase.config.mode.extends,
                f"{phase.name} plans its steps for epochs={before.epochs}; leave out epochs={after.epochs}",
            )
    if after.workers != before.workers:
        for old, new in zip(before.parts, after.parts, strict=True):
            reason = old.config.mode.cannot_move(old.config, new.config)
            require(
                reason is None,
                f"{old.name}: another number of workers would change the result, since {reason}; "
                f"leave out workers={after.workers}",
            )
