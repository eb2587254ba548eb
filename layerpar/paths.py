"""The names of the files in a run directory, and where the package's own configuration lies."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunDirectory:
    """One run's directory. Everything a run reads or leaves behind is named here and only here."""

    root: Path

    @property
    def run_yaml(self) -> Path:
        """The whole input of a worker: the resolved configuration."""
        return self.root / "run.yaml"

    @property
    def status(self) -> Path:
        """Where the run stands: created, running, done, failed, interrupted, diverged or refused."""
        return self.root / "status.json"

    @property
    def lock(self) -> Path:
        """Locked by the process that runs this directory; see `layerpar.measure.status.exclusive_lock`."""
        return self.root / ".lock"

    @property
    def hydra(self) -> Path:
        """The folder with what Hydra composed, for people to read."""
        return self.root / ".hydra"

    @property
    def live(self) -> Path:
        """The step that training has come to; only while it trains."""
        return self.root / ".step"

    @property
    def metrics(self) -> Path:
        """One flushed JSON line per evaluation and per log interval, once a segment is over."""
        return self.root / "metrics.jsonl"

    @property
    def summary(self) -> Path:
        """The run's result; its keys are stable."""
        return self.root / "summary.json"

    @property
    def environment(self) -> Path:
        """Versions and hardware."""
        return self.root / "env.json"

    @property
    def trace(self) -> Path:
        """What every worker did during `trace_steps` steps, in Chrome's trace event format."""
        return self.root / "trace.json"

    @property
    def logger(self) -> Path:
        """The folder for what the run's logger keeps here."""
        return self.root / "logger"

    @property
    def model(self) -> Path:
        """The trained network's plain `state_dict`, without heads."""
        return self.root / "model.pt"

    @property
    def checkpoints(self) -> Path:
        """What a stopped run can go on from; see `layerpar.checkpoint`."""
        return self.root / "checkpoint"

    def whole_checkpoints(self) -> list[Path]:
        """The folders of the checkpoints that were written to their end, by epoch."""
        if not self.checkpoints.is_dir():
            return []
        folders = (folder for folder in self.checkpoints.iterdir() if folder.name.isdigit())
        return sorted(folders, key=lambda folder: int(folder.name))

    @property
    def logs(self) -> Path:
        """A folder for each worker."""
        return self.root / "logs"

    def log(self, rank: int) -> Path:
        """The folder with the standard output and standard error of one worker."""
        return self.logs / str(rank)

    @property
    def launcher_log(self) -> Path:
        """The same of a command that starts all workers."""
        return self.logs / "launcher"

    def error(self, rank: int) -> Path:
        """What one worker says of its failure."""
        return self.log(rank) / "error.json"


def config_directory() -> Path:
    """`conf/` as an absolute path: inside the package when installed, else the checkout's."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"
