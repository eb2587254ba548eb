"""One rank's whole part in a run, from `run.yaml` to the records: phase after phase, epoch after epoch."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from itertools import accumulate

import torch
import torch.distributed as dist

from layerpar import checkpoint
from layerpar.config import Phase, RunConfig, load
from layerpar.datasets.base import Loader
from layerpar.engine.contract import Engine, Workload
from layerpar.errors import DivergedError, RefusedError, UserError, require
from layerpar.loop import Progress, Segment, evaluate, train_epoch, warm_up
from layerpar.measure import environment, pauses, trace
from layerpar.measure.live import LiveStep
from layerpar.measure.metrics import MetricsLog
from layerpar.measure.status import exclusive_lock, read_status, write_status
from layerpar.measure.stopwatch import Stopwatch
from layerpar.measure.writing import write_json, write_tensors
from layerpar.paths import RunDirectory
from layerpar.phases import assemble, hand_over
from layerpar.rendezvous import liveness
from layerpar.rendezvous.ranks import Ranks, join, worker_device
from layerpar.seeds import random_state, seed_generators, set_random_state
from layerpar.summary.content import Results, method, summary
from layerpar.summary.gather import gather_contention, gather_environment, gather_ranks, results
from layerpar.summary.settings import effective
from layerpar.variables import PARENT, STARTED
from layerpar.work import Work, add_work, count_work


def work(directory: RunDirectory) -> None:
    """Do what the directory's `run.yaml` says, as one of its workers. Collective.

    Raises:
        UserError: the run is done or there is none, or there are not as many workers as it wants.
    """
    require(
        directory.run_yaml.is_file(),
        f"{directory.root} holds no {directory.run_yaml.name}; try a directory that layerpar train has made",
    )
    config = load(directory.run_yaml)
    done = directory.status.exists() and read_status(directory)["status"] == "done"
    if done:
        raise RefusedError(f"{directory.root} is done; try another directory with a copy of its run.yaml")
    num_workers = config.num_workers
    if int(os.environ["WORLD_SIZE"]) != num_workers:
        raise RefusedError(f"run.yaml wants {num_workers} workers; try --nproc-per-node {num_workers}")
    torch.set_num_threads(config.threads_per_worker)
    started = float(os.environ.get(STARTED, time.time()))
    with nullcontext() if PARENT in os.environ else _by_hand(directory):
        try:
            run(config, directory, started=started)
        except DivergedError as error:
            write_status(directory, "diverged", message=str(error), step=error.step)
            raise
    liveness.leave()
    dist.destroy_process_group()


@contextmanager
def _by_hand(directory: RunDirectory) -> Iterator[None]:
    """What the parent does for a run, where there is none: the first worker holds its lock.

    Raises:
        RefusedError: another process runs it.
    """
    if os.environ["RANK"] != "0":
        yield
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive_lock(directory))
        except UserError as error:
            raise RefusedError(str(error)) from None
        checkpoint.clear_unfinished(directory)
        yield


def run(config: RunConfig, directory: RunDirectory, *, started: float) -> None:
    """Train as `config` says, or go on from its checkpoint, and leave the records in `directory`. Collective.

    The status `done` is the last that is written; only then the checkpoints go.

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
    with pauses.watching(trainer.stopwatch.count_pause):
        workload, engine = trainer.run_phases(ranks, started=started)
    records = gather_ranks(trainer.progress, trainer.stopwatch, engine.assignment)
    contended = gather_contention(config, device, decodes=engine.reads_images)
    state = engine.full_state()
    if state is not None:
        write_tensors(directory.model, state)
        measured = results(config, workload, trainer.progress, records, contended=contended)
        write_json(directory.summary, summary(config, "done", measured))
        write_status(directory, "done")
        if not config.keep_checkpoint:
            checkpoint.remove(directory)


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
        config, device = self.config, self.stopwatch.device
        folder, saved = checkpoint.newest(self.directory), None
        if folder is not None:
            of = checkpoint.identity(config)
            saved = checkpoint.load(folder, ranks.rank, ranks.world_size, of=of, device=device)
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
            work = None
            if self.progress.epoch < ends[index]:
                work = count_work(engine, loader, config.parts[index].config, workload)
                warm_up(engine, loader, steps=config.warmup_steps)
            environment.reset_peak_memory(device)
            if saved is None:
                # After measuring, compiling and warm-up, whose draws must not matter.
                seed_generators(config.seed, "phase", index, "rank", ranks.rank)
                self._begin_phase(config.parts[index], engine, started=started)
            else:
                set_random_state(saved["random"], device)
                self.progress.assignments[-1] = (engine.assignment.block, engine.assignment.layers)
                if engine.owner and folder is not None:
                    checkpoint.cut_metrics(self.directory, folder)
            self._train_phase(index, engine, loader, work, last_epoch=ends[index])
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
            at = {key: getattr(progress, key) for key in ("epoch", "train_seconds", "gradient_evaluations")}
            log.write("phase", name=phase.name, **method(phase.config), **at)
        if engine.decisions:
            log.write("engine", **engine.decisions)
        log.close()

    def _train_phase(
        self, index: int, engine: Engine, loader: Loader, work: Work | None, *, last_epoch: int
    ) -> None:
        """The epochs of a phase that are left, with evaluations and checkpoints. Collective."""
        config, progress, phase = self.config, self.progress, self.config.parts[index]
        log = MetricsLog(self.directory, config.logger, effective(config)) if engine.owner else None
        live = LiveStep(self.directory.live) if engine.owner else None
        while progress.epoch < last_epoch:
            if engine.owner:
                self._say(phase, "training")
            steps = progress.step
            for segment in train_epoch(engine, loader, config, progress, stopwatch=self.stopwatch, live=live):
                add_work(progress, work, steps=progress.step - steps)
                steps = progress.step
                if config.trace_steps and len(progress.evaluations) == 0:
                    spans, start = self.stopwatch.spans, self.stopwatch.segment_start
                    layers = engine.assignment.layers
                    trace.write(self.directory, spans, segment_start=start, layers=layers)
                if engine.owner:
                    self._say(phase, "evaluating")
                self._evaluate(phase, engine, loader, segment, log)
            if _is_due(config, progress.epoch):
                self._save_checkpoint(index, engine)
        if log is not None and live is not None:
            log.close()
            live.close()

    def _evaluate(
        self, phase: Phase, engine: Engine, loader: Loader, segment: Segment, log: MetricsLog | None
    ) -> None:
        """Score the network after a segment, and write down what both have shown. Collective."""
        config, progress = self.config, self.progress
        scores = self._score(engine, loader)
        peak = environment.peak_memory_bytes(self.stopwatch.device)
        progress.peak_memory_bytes = max(progress.peak_memory_bytes, peak)
        if log is None:
            return
        for line in segment.lines:
            log.write("train", **line)
        log.write(
            "evaluate",
            epoch=progress.epoch,
            step=progress.step,
            train_seconds=progress.train_seconds,
            samples_per_second=progress.step * config.batch_size / progress.train_seconds,
            gradient_evaluations=progress.gradient_evaluations,
            **scores,
            **({"phase": phase.name} if config.phases else {}),
            **segment.means,
        )

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
        """Collective."""
        progress, device = self.progress, self.stopwatch.device
        content = {
            "phase": index,
            "progress": asdict(progress),
            "stopwatch": self.stopwatch.state_dict(),
            "engine": engine.state_dict(),
            "decisions": engine.decisions,
            "random": random_state(device),
        }
        of = checkpoint.identity(self.config)
        checkpoint.save(self.directory, content, of=of, epoch=progress.epoch, owner=engine.owner)
        environment.reset_peak_memory(device)

    def _say(self, phase: Phase, doing: str) -> None:
        """Write into the status what the run is doing."""
        named = f"{phase.name}: {doing}" if self.config.phases else doing
        write_status(self.directory, "running", phase=named)


def _is_due(config: RunConfig, epoch: int) -> bool:
    """Whether a checkpoint follows this epoch."""
    if epoch == config.epochs:
        return config.keep_checkpoint
    return config.checkpoint_every > 0 and epoch % config.checkpoint_every == 0
