"""One rank's whole part in a run, from `run.yaml` to the records: phase after phase, epoch after epoch."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from itertools import accumulate

from layerpar import checkpoint
from layerpar.config import RunConfig
from layerpar.datasets.base import Loader
from layerpar.engine.contract import Engine, Workload
from layerpar.loop import Progress, train_epoch, warm_up
from layerpar.measure import environment, pauses, trace
from layerpar.measure.status import write_status
from layerpar.measure.stopwatch import Stopwatch
from layerpar.measure.writing import write_json, write_tensors
from layerpar.paths import RunDirectory
from layerpar.phases import assemble, hand_over
from layerpar.records import Records
from layerpar.rendezvous.ranks import Ranks, join, worker_device
from layerpar.scoring import score
from layerpar.seeds import random_state, seed_generators, set_random_state
from layerpar.summary.content import Results, summary
from layerpar.summary.gather import gather_contention, gather_environment, gather_ranks, results
from layerpar.work import Work, add_work, count_work


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
    found = gather_environment(device, via_host=ranks.via_host)
    if ranks.rank == 0:
        write_status(directory, "running", phase="measuring")
        write_json(directory.environment, found)
        write_json(directory.summary, summary(config, "running", Results()))
    trainer = Trainer(config, directory, Stopwatch(device), Progress())
    with pauses.watching(trainer.stopwatch.count_pause):
        workload, engine = trainer.run_phases(ranks, started=started)
    records = gather_ranks(trainer.progress, trainer.stopwatch, engine.assignment)
    contended = gather_contention(config, ranks, decodes=engine.reads_images)
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
            records = Records(self.directory, config, config.parts[index]) if engine.owner else None
            if records is not None:
                records.say("warmup")
            work = None
            if self.progress.epoch < ends[index]:
                work = count_work(engine, loader, config.parts[index].config, workload)
                warm_up(engine, loader, steps=config.warmup_steps)
            environment.reset_peak_memory(device)
            if saved is None:
                # After measuring, compiling and warm-up, whose draws must not matter.
                seed_generators(config.seed, "phase", index, "rank", ranks.rank)
                self._begin_phase(engine, started=started)
            else:
                set_random_state(saved["random"], device)
                self.progress.assignments[-1] = (engine.assignment.block, engine.assignment.layers)
                if engine.owner and folder is not None:
                    checkpoint.cut_metrics(self.directory, folder)
            if records is not None:
                records.open()
                if saved is None:
                    records.begin(self.progress, engine.decisions)
            try:
                self._train_phase(index, engine, loader, work, records, last_epoch=ends[index])
            except Exception:
                if records is not None:
                    records.close(failed=True)
                raise
            if records is not None:
                records.close()
            if index + 1 < len(config.parts):
                handed_over = hand_over(config, index, engine)
            saved = None
        return workload, engine

    def _begin_phase(self, engine: Engine, *, started: float) -> None:
        progress = self.progress
        if progress.epoch == 0:
            progress.start_seconds = time.time() - started
        progress.assignments.append((engine.assignment.block, engine.assignment.layers))
        progress.phase_seconds.append(0.0)

    def _train_phase(
        self,
        index: int,
        engine: Engine,
        loader: Loader,
        work: Work | None,
        records: Records | None,
        *,
        last_epoch: int,
    ) -> None:
        """The epochs of a phase that are left, with evaluations and checkpoints. Collective."""
        config, progress, stopwatch = self.config, self.progress, self.stopwatch
        live = None if records is None else records.live
        while progress.epoch < last_epoch:
            if records is not None:
                records.say("training")
            steps = progress.step
            for segment in train_epoch(engine, loader, config, progress, stopwatch=stopwatch, live=live):
                add_work(progress, work, steps=progress.step - steps)
                steps = progress.step
                if config.trace_steps and len(progress.evaluations) == 0:
                    layers, start = engine.assignment.layers, stopwatch.segment_start
                    trace.write(self.directory, stopwatch.spans, segment_start=start, layers=layers)
                if records is not None:
                    records.say("evaluating")
                scores = score(engine, loader, config, progress, device=self.stopwatch.device)
                peak = environment.peak_memory_bytes(stopwatch.device)
                progress.peak_memory_bytes = max(progress.peak_memory_bytes, peak)
                if records is not None:
                    records.add(segment, progress, scores)
            if _is_due(config, progress.epoch):
                self._save_checkpoint(index, engine)

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


def _is_due(config: RunConfig, epoch: int) -> bool:
    """Whether a checkpoint follows this epoch."""
    if epoch == config.epochs:
        return config.keep_checkpoint
    return config.checkpoint_every > 0 and epoch % config.checkpoint_every == 0
