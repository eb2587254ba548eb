"""One run in the parent process: check, directory, launch; and the same from a checkpoint on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from layerpar import checkpoint
from layerpar.check import check
from layerpar.config import RunConfig, load, parse
from layerpar.errors import UserError, require
from layerpar.measure.status import exclusive_lock, read_status, write_status
from layerpar.measure.writing import naming, whole, write_json
from layerpar.paths import RunDirectory
from layerpar.summary.content import Results, summary
from layerpar.supervise import Outcome, end, launch_and_record


def execute(
    config: RunConfig,
    composed: DictConfig,
    root: Path,
    console: Console,
    *,
    label: str,
    started: float,
    again: bool = False,
    composition: Mapping[str, str] | None = None,
) -> Outcome:
    """Check, prepare the directory, launch the workers, and leave a status and a summary whatever happens.

    Args:
        config: The run.
        composed: The same, as composed; becomes `run.yaml`.
        root: The run's directory.
        console: Where progress is shown.
        label: Names the run there.
        started: Unix time at which the command was given.
        again: Where the directory holds this very run, go on with it: what is done stays, what has a
            checkpoint is resumed.
        composition: What Hydra composed, by the name of its file in `.hydra/`.

    Raises:
        UserError: the run cannot work, or the directory holds another one; nothing was started or changed.
        Interrupted: the user or the system stopped it; the status says so and no worker is left.
    """
    directory = RunDirectory(root.absolute())
    directory.root.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(directory):
        ended = _earlier(directory, composed, again)
        if ended is not None:
            return ended
        folder = checkpoint.newest(directory) if again else None
        if folder is not None:
            return _go_on(config, directory, folder, console, label=label, started=started)
        if directory.run_yaml.exists():
            clear_incomplete(directory)
        write_status(directory, "created", phase="starting")
        write_yaml(directory.run_yaml, composed)
        write_json(directory.summary, summary(config, "created", Results()))
        if composition is not None:
            directory.hydra.mkdir(exist_ok=True)
            for name, text in composition.items():
                with naming(directory.hydra / name):
                    (directory.hydra / name).write_text(text)
        try:
            steps = _num_steps(config)
        except UserError as error:
            end(directory, config, "refused", str(error))
            raise
        return launch_and_record(config, directory, console, label=label, steps=steps, started=started)


def _earlier(directory: RunDirectory, composed: DictConfig, again: bool) -> Outcome | None:
    """How the run that a directory holds has ended; None where there is something to do."""
    if not directory.run_yaml.exists() or not directory.status.exists():
        return None
    status = read_status(directory)
    if status["status"] == "refused":
        return None
    if not again or OmegaConf.load(directory.run_yaml) != composed:
        advice = "try hydra.run.dir=ANOTHER"
        if not again and checkpoint.newest(directory) is not None:
            advice += f", or layerpar resume {quote(str(directory.root))}"
        raise UserError(f"{directory.root} already holds a run; {advice}")
    if status["status"] in ("done", "diverged"):
        return Outcome(directory, status["status"], status["message"], before=True)
    return None


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
            not more or config.epochs > epoch,
            f"epochs={config.epochs} are done already; try epochs={epoch + 1}",
        )
        _check_changes(before, config, epoch=epoch)
        label = " → ".join(phase.name for phase in config.parts)
        changed = composed if changes else None
        return _go_on(config, directory, folder, console, label=label, started=started, changed=changed)


def _check_changes(before: RunConfig, after: RunConfig, *, epoch: int) -> None:
    """Refuse changes that would alter what the checkpoint's epochs have come to.

    Raises:
        UserError: names the change that is one.
    """
    if after.epochs != before.epochs:
        require(after.epochs > epoch, f"epochs={after.epochs} are done already; try epochs={epoch + 1}")
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


def _go_on(
    config: RunConfig,
    directory: RunDirectory,
    folder: Path,
    console: Console,
    *,
    label: str,
    started: float,
    changed: DictConfig | None = None,
) -> Outcome:
    """From a checkpoint on, in a directory that is locked; with `changed` settings, if any."""
    checkpoint.verify(folder, of=checkpoint.identity(config))
    steps = _num_steps(config)
    offset = checkpoint.cut_metrics(directory, folder)
    if changed is not None:
        write_yaml(directory.run_yaml, changed)
    checkpoint.clear_unfinished(directory)
    shutil.rmtree(directory.logs, ignore_errors=True)  # an old error would name the wrong worker
    write_json(directory.summary, summary(config, "created", Results()))
    write_status(directory, "created", phase="starting")
    console.print(
        f"{label}  goes on after epoch {folder.name} of {config.epochs}", markup=False, highlight=False
    )
    return launch_and_record(
        config, directory, console, label=label, steps=steps, started=started, offset=offset
    )


def clear_incomplete(directory: RunDirectory) -> None:
    """Remove what an attempt without a checkpoint has left; it is begun anew."""
    checkpoint.clear_unfinished(directory)
    for path in (directory.logs, directory.tensorboard):
        shutil.rmtree(path, ignore_errors=True)
    for path in (
        directory.metrics,
        directory.summary,
        directory.environment,
        directory.trace,
        directory.model,
    ):
        path.unlink(missing_ok=True)


def _num_steps(config: RunConfig) -> int:
    """Optimizer steps of a run that can work.

    Raises:
        UserError: it cannot.
    """
    return config.epochs * (check(config).num_train // config.batch_size)


def write_yaml(path: Path, content: DictConfig) -> None:
    """Write a configuration, interpolations resolved, whole or not at all."""
    with whole(path) as file:
        file.write(OmegaConf.to_yaml(content, resolve=True).encode())
