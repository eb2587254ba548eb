"""One rank's whole part in a run, from `run.yaml` to the records: phase after phase, epoch after epoch."""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from layerpar import checkpoint, liveness
from layerpar.config import Phase, RunConfig, load
from layerpar.datasets.base import Loader
from layerpar.engine.contract import Engine, Workload
from layerpar.errors import DivergedError, UserError, require
from layerpar.loop import Progress, evaluate, train_epoch, warm_up
from layerpar.measure import environment, trace
from layerpar.measure.gather import gather_contention, gather_environment, gather_ranks, results
from layerpar.measure.metrics import MetricsLog
from layerpar.measure.records import Results, method, summary, write_json, write_status
from layerpar.measure.stopwatch import Stopwatch
from layerpar.paths import RunDirectory
from layerpar.phases import assemble, hand_over
from layerpar.ranks import Ranks, join, worker_device
from layerpar.variables import STARTED


def work(directory: RunDirectory) -> None:
    """Do what the directory's `run.yaml` says, as one of its workers. Collective."""
    started = float(os.environ.get(STARTED, time.time()))
    require(
        directory.run_yaml.is_file(),
        f"{directory.root} holds no {directory.run_yaml.name}; try a directory that layerpar train has made",
    )
    config = load(directory.run_yaml)
    if int(os.environ["WORLD_SIZE"]) != config.num_workers:
        raise UserError(
            f"run.yaml wants {config.num_workers} workers; try --nproc-per-node {config.num_workers}"
        )
    torch.set_num_threads(config.threads_per_worker)
    try:
        run(config, directory, started=started)
    except DivergedError as error:
        write_status(directory, "diverged", message=str(error), step=error.step)
        raise
    liveness.leave()
    dist.destroy_process_group()


def run(config: RunConfig, directory: RunDirectory, *, started: float) -> None:
    """Train as `config` says, or go on from its checkpoint, and leave the records in `directory`. Collective.

    Args:
        config: The run.
        directory: Where to.
        started: Unix time at which the command was given, for `start_seconds`.
    """
    device = worker_device(config.device, int(os.environ["LOCAL_RANK"]))
    ranks = join(
        device,
        timeout_seconds=config.launcher.timeout_seconds,
        join_seconds=config.launcher.join_seconds,
    )
    found = gather_environment(device)
    if ranks.rank == 0:
        write_status(directory, "running", phase="measuring")
        write_json(directory.environment, found)
        write_json(directory.summary, summary(config, "running", Results()))
    trainer = Trainer(config, directory, Stopwatch(device), Progress())
    workload, engine = trainer.run_phases(ranks, started=started)
    records = gather_ranks(trainer.progress, trainer.stopwatch, engine.assignment)
    contended = gather_contention(config, device, decodes=engine.reads_images)
    state = engine.full_state()
    if state is not None:
        save_model(directory, state)
        measured = results(config, workload, trainer.progress, records, contended=contended)
        write_json(directory.summary, summary(config, "done", measured))
        write_status(directory, "done")
        checkpoint.remove(directory)


def save_model(directory: RunDirectory, state: dict[str, Tensor]) -> None:
    """Write `model.pt` to a temporary name, then rename."""
    temporary = directory.model.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(directory.model)


@dataclass
class Trainer:
    """A run on this rank.

    Attributes:
        config: The run.
        directory: Where its records lie.
        stopwatch: Of this rank.
        progress: How far the run is.
    """

    config: RunConfig
    directory: RunDirectory
    stopwatch: Stopwatch
    progress: Progress

    def run_phases(self, ranks: Ranks, *, started: float) -> tuple[Workload, Engine]:
        """Train all phases, from the last checkpoint on if there is one. Collective.

        Args:
            ranks: Which worker this is.
            started: Unix time at which the command was given, for `start_seconds`.

        Returns:
            Workload and engine of the last phase.
        """
        config = self.config
        folder = checkpoint.newest(self.directory)
        saved = None if folder is None else checkpoint.load(folder, ranks.rank)
        if saved is not None:
            self.progress = Progress(**saved["progress"])
            self.stopwatch.load_state_dict(saved["stopwatch"])
        ends = list(accumulate(phase.config.epochs for phase in config.parts))
        handed_over = None
        for index in range(0 if saved is None else saved["phase"], len(config.parts)):
            workload, engine, loader = assemble(
                config,
                ranks,
                self.stopwatch,
                phase=index,
                handed_over=handed_over,
                recorded_decisions=None if saved is None else saved["decisions"],
            )
            if saved is not None:
                engine.load_state_dict(saved["engine"])
            if engine.owner:
                self._say(config.parts[index], "warmup")
            if self.progress.epoch < ends[index]:
                warm_up(engine, loader, steps=config.warmup_steps)
            environment.reset_peak_memory(workload.device)
            if saved is None:
                self._begin_phase(config.parts[index], engine, started=started)
            else:
                _set_random_state(saved["random"])
                if engine.owner and folder is not None:
                    checkpoint.cut_metrics(self.directory, folder)
            self._train_phase(index, engine, loader, last_epoch=ends[index])
            if index + 1 < len(config.parts):
                handed_over = hand_over(config, index, engine)
            saved = None
        return workload, engine

    def _begin_phase(self, phase: Phase, engine: Engine, *, started: float) -> None:
        """Write down that a phase begins."""
        progress = self.progress
        if progress.epoch == 0:
            progress.start_seconds = time.time() - started
        progress.assignments.append((engine.assignment.block, engine.assignment.layers))
        progress.phase_seconds.append(0.0)
        if not engine.owner:
            return
        log = MetricsLog(self.directory)
        if self.config.phases:
            at = {"epoch": progress.epoch, "train_seconds": progress.train_seconds}
            log.write("phase", name=phase.name, **method(phase.config), **at)
        if engine.decisions:
            log.write("engine", **engine.decisions)
        log.close()

    def _train_phase(self, index: int, engine: Engine, loader: Loader, *, last_epoch: int) -> None:
        """The epochs of a phase that are left, each with an evaluation. Collective."""
        config, progress, stopwatch = self.config, self.progress, self.stopwatch
        phase = config.parts[index]
        log = MetricsLog(self.directory, tensorboard=config.tensorboard) if engine.owner else None
        while progress.epoch < last_epoch:
            if engine.owner:
                self._say(phase, "training")
            means = train_epoch(engine, loader, config, progress, stopwatch=stopwatch, log=log)
            if config.trace_steps and progress.epoch == 1:
                spans, layers = stopwatch.spans, engine.assignment.layers
                trace.write(self.directory, spans, segment_start=stopwatch.segment_start, layers=layers)
            if engine.owner:
                self._say(phase, "evaluating")
            scores = self._score(engine, loader)
            peak = environment.peak_memory_bytes(stopwatch.device)
            progress.peak_memory_bytes = max(progress.peak_memory_bytes, peak)
            if log is not None:
                log.write(
                    "evaluate",
                    epoch=progress.epoch,
                    step=progress.step,
                    train_seconds=progress.train_seconds,
                    samples_per_second=progress.step * config.batch_size / progress.train_seconds,
                    **scores,
                    **({"phase": phase.name} if config.phases else {}),
                    **means,
                )
            if _is_due(config, progress.epoch):
                self._save_checkpoint(index, engine)
        if log is not None:
            log.close()

    def _score(self, engine: Engine, loader: Loader) -> dict[str, float]:
        """Score the validation split and, once the run is over, the test set; without a split that each time.

        Collective.

        Returns:
            Accuracies and losses by the names they are recorded under.

        Raises:
            DivergedError: on every rank, where a loss is not finite.
        """
        progress, has_split = self.progress, self.config.dataset.validation > 0
        chosen = {"validation": loader.validation} if has_split else {}
        if not has_split or progress.epoch == self.config.epochs:
            chosen["test"] = loader.test
        scores: dict[str, float] = {}
        found = []
        for name, batches in chosen.items():
            accuracy, loss = evaluate(engine, batches())
            if not math.isfinite(loss):
                raise DivergedError(progress.step, loss)
            found.append((accuracy, loss))
            scores |= {f"{name}_accuracy": accuracy, f"{name}_loss": loss}
        progress.evaluations.append((progress.train_seconds, *found[0]))
        if "test" in chosen:
            progress.test_scores = found[-1]
        return scores

    def _save_checkpoint(self, index: int, engine: Engine) -> None:
        content = {
            "phase": index,
            "progress": asdict(self.progress),
            "stopwatch": self.stopwatch.state_dict(),
            "engine": engine.state_dict(),
            "decisions": engine.decisions,
            "random": _random_state(self.stopwatch.device),
        }
        checkpoint.save(self.directory, content, epoch=self.progress.epoch, owner=engine.owner)

    def _say(self, phase: Phase, doing: str) -> None:
        """Write into the status what the run is doing."""
        named = f"{phase.name}: {doing}" if self.config.phases else doing
        write_status(self.directory, "running", phase=named)


def _is_due(config: RunConfig, epoch: int) -> bool:
    every = config.checkpoint_every
    return every > 0 and epoch % every == 0 and epoch < config.epochs


def _random_state(device: torch.device) -> dict[str, Any]:
    """Of torch's global generators, from which dropout draws."""
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return {"cpu": torch.get_rng_state(), "cuda": on_gpu}


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"])
