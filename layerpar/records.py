"""What a run writes down while a phase trains."""

from __future__ import annotations

from typing import Any

from layerpar.config import Phase, RunConfig
from layerpar.loop import Progress, Segment
from layerpar.measure.live import LiveStep
from layerpar.measure.metrics import MetricsLog
from layerpar.measure.status import write_status
from layerpar.paths import RunDirectory
from layerpar.summary.content import method
from layerpar.summary.settings import effective


class Records:
    """Status, lines of `metrics.jsonl` and live step of one phase, by the rank that holds the loss.

    Args:
        directory: The run's.
        config: The run.
        phase: The phase.
    """

    def __init__(self, directory: RunDirectory, config: RunConfig, phase: Phase) -> None:
        self._directory = directory
        self._config = config
        self._phase = phase
        self._named = {"phase": phase.name} if config.phases else {}

    def say(self, doing: str) -> None:
        """Write into the status what the run is doing."""
        named = f"{self._phase.name}: {doing}" if self._named else doing
        write_status(self._directory, "running", phase=named)

    def open(self) -> None:
        """Training begins, or goes on behind the lines that are there."""
        self._log = MetricsLog(self._directory, self._config.logger, effective(self._config))
        self.live = LiveStep(self._directory.live)

    def begin(self, progress: Progress, decisions: dict[str, Any]) -> None:
        """The phase begins, with what its engine has decided."""
        if self._named:
            at = {key: getattr(progress, key) for key in ("epoch", "train_seconds", "gradient_evaluations")}
            self._log.write("phase", name=self._phase.name, **method(self._phase.config), **at)
        if decisions:
            self._log.write("engine", **decisions)

    def add(self, segment: Segment, progress: Progress, scores: dict[str, float]) -> None:
        """A segment is over and its weights were scored."""
        for line in segment.lines:
            self._log.write("train", **line)
        self._log.write(
            "evaluate",
            epoch=progress.epoch,
            step=progress.step,
            train_seconds=progress.train_seconds,
            samples_per_second=progress.step * self._config.batch_size / progress.train_seconds,
            gradient_evaluations=progress.gradient_evaluations,
            **scores,
            **self._named,
            **segment.means,
        )

    def close(self, *, failed: bool = False) -> None:
        """The phase is over; `failed` where the run is too, badly."""
        self._log.close(failed=failed)
        self.live.close()
