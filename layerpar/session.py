"""One command that runs something: what it works on, how far it is, and what it says at its end."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console

from layerpar.compose import number_of_jobs
from layerpar.errors import UserError
from layerpar.measure.writing import FULL
from layerpar.progress import Series

if TYPE_CHECKING:
    from layerpar.paths import RunDirectory
    from layerpar.run import Outcome


@dataclass
class Session:
    """One command, in the process in which it was given.

    Attributes:
        command: train or compare.
        arguments: Those that were given to it.
        started: Unix time at which it was given.
        console: Where it says what happens.
        directory: Of the sweep or comparison; None for a single run.
        key: The key that sets it.
        series: How far it is.
        outcomes: How the runs ended that were run in this process.
        interrupted: The run that a signal ended.
    """

    command: str
    arguments: Sequence[str]
    started: float
    console: Console = field(default_factory=Console)
    directory: Path | None = None
    key: str = "hydra.sweep.dir"
    series: Series = field(default_factory=lambda: Series(None))
    outcomes: list[Outcome] = field(default_factory=list)
    interrupted: RunDirectory | None = None

    def same_again(self) -> str:
        """The command line that goes on with it."""
        given = [one for one in self.arguments if not one.startswith(f"{self.key}=")]
        return shlex.join(["layerpar", self.command, *given, f"{self.key}={self.directory}"])

    @property
    def place(self) -> Path | None:
        """What it writes to, as far as it has come."""
        if self.directory is None and self.interrupted is not None:
            return self.interrupted.root
        return self.directory

    def elsewhere(self) -> str:
        """What helps where nothing can be written."""
        if self.command == "resume":
            return "try again once there is room"
        return f"try {self.key if self.directory is not None else 'hydra.run.dir'}=ANOTHER"

    def print(self, text: str) -> None:
        """A line, as it is: paths may hold what would be markup."""
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def run(
        self,
        composed: DictConfig,
        root: Path,
        *,
        label: str,
        one_of_several: bool,
        composition: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Run one run to its end, whatever that is, and say so where it is one of several.

        Args:
            composed: Its configuration.
            root: Its directory.
            label: Names it.
            one_of_several: Its title and its end name it so.
            composition: What Hydra composed, by file name.
        """
        from layerpar.config import parse
        from layerpar.paths import RunDirectory
        from layerpar.run import Outcome, execute

        title = self.series.title(label) if one_of_several else label
        begun, started = time.monotonic(), time.time() if self.outcomes else self.started
        try:
            with self.working_on(root):
                outcome = execute(
                    parse(composed),
                    composed,
                    root,
                    self.console,
                    label=title,
                    started=started,
                    composition=composition,
                )
        except UserError as error:
            outcome = Outcome(RunDirectory(root.absolute()), "refused", str(error))
        self.outcomes.append(outcome)
        self.series.count(None if outcome.before else time.monotonic() - begun)
        if one_of_several:
            suffix = " before" if outcome.before else ""
            suffix += "" if outcome.message is None else f": {outcome.message}"
            self.print(f"{title}  {outcome.status}{suffix}")
        return outcome

    @contextmanager
    def working_on(self, root: Path) -> Iterator[None]:
        """Within, a run is carried out in `root`; what ends it but a refusal has interrupted it."""
        from layerpar.paths import RunDirectory

        try:
            yield
        except UserError:
            raise
        except BaseException:
            self.interrupted = RunDirectory(root.absolute())
            raise

    def say_how_to_go_on(self, *, interrupted: bool) -> None:
        """The command that goes on with what was stopped, if anything was and can be."""
        from layerpar import checkpoint

        stopped = [outcome.directory for outcome in self.outcomes if outcome.status == "failed"]
        if self.interrupted is not None:
            stopped.append(self.interrupted)
        if self.directory is not None and (stopped or interrupted):
            self.print(f"to go on: {self.same_again()}")
        elif stopped and checkpoint.newest(stopped[0]) is not None:
            self.print(f"to go on: layerpar resume {shlex.quote(str(stopped[0].root))}")


_current: list[Session] = []
"""The command that this process carries out; none in a process that Hydra's launcher has started."""


def current() -> Session | None:
    """The command that this process carries out, None where Hydra's launcher has started it for a job."""
    return _current[-1] if _current else None


class SweepStart(Callback):
    """Tells the session of its sweep before the first job; Hydra makes one (`hydra.callbacks`)."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        session = current()
        if session is None:
            return
        session.directory = Path(config.hydra.sweep.dir).absolute()
        session.series.total = number_of_jobs(config)


@contextmanager
def carrying_out(session: Session) -> Iterator[Session]:
    """Within, the command runs what it runs; then a sweep gets its table, also when the rest was interrupted.

    Whatever can be gone on with afterwards, the last line says how.

    Raises:
        UserError: something could not be written.
    """
    from layerpar.launchers.base import Interrupted

    _current.append(session)
    try:
        yield session
    except Interrupted:
        _show(session)
        session.say_how_to_go_on(interrupted=True)
        raise
    except BrokenPipeError:
        raise
    except OSError as error:
        place = error.filename or (session.place if error.errno in FULL else None)
        if place is None:
            raise  # no file is the cause
        raise UserError(f"cannot write {place}: {error.strerror}; {session.elsewhere()}") from error
    finally:
        _current.pop()
    _show(session)
    session.say_how_to_go_on(interrupted=False)


def _show(session: Session) -> None:
    """Table and figures of what was completed."""
    if session.directory is None:
        return
    from layerpar.results.show_sweep import show_sweep

    try:
        show_sweep(session.directory, session.console)
    except OSError as error:
        session.print(f"cannot write {error.filename or session.directory}: {error.strerror}")
