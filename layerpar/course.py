"""The course of a run on one rank: phase after phase, epoch after epoch, with evaluations and checkpoints."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

import torch

from layerpar import checkpoint
from layerpar.config import Phase, RunConfig
from layerpar.datasets.base import Loader
from layerpar.engine.contract import Engine, Workload
from layerpar.measure import environment
from layerpar.measure.records import MetricsLog, way, write_status
from layerpar.measure.stopwatch import Stopwatch
from layerpar.outcome import write_trace
from layerpar.paths import RunDirectory
from layerpar.phases import assemble, hand_over
from layerpar.ranks import Ranks
from layerpar.train import Progress, evaluate, train_epoch, warm_up


@dataclass
class Course:
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

    def say(self, phase: Phase, doing: str) -> None:
        """Write into the status what the run is doing."""
        named = f"{phase.name}: {doing}" if self.config.phases else doing
        write_status(self.directory, "running", phase=named)


def follow(course: Course, ranks: Ranks, *, started: float) -> tuple[Workload, Engine]:
    """Train all phases, from the last checkpoint on if there is one. Collective. Advances `course`.

    Args:
        course: The run.
        ranks: Which worker this is.
        started: Unix time at which the command was given, for `start_seconds`.

    Returns:
        Workload and engine of the last phase.
    """
    config = course.config
    folder = checkpoint.newest(course.directory)
    saved = None if folder is None else checkpoint.load(folder, ranks.rank)
    if saved is not None:
        course.progress = Progress(**saved["progress"])
        course.stopwatch.load_state_dict(saved["stopwatch"])
    ends = list(accumulate(phase.config.epochs for phase in config.parts))
    handed_over = None
    for index in range(0 if saved is None else saved["phase"], len(config.parts)):
        phase, recorded_decisions = config.parts[index], None if saved is None else saved["decisions"]
        workload, engine, loader = assemble(
            config,
            ranks,
            course.stopwatch,
            phase=index,
            handed_over=handed_over,
            recorded_decisions=recorded_decisions,
        )
        if saved is not None:
            engine.load_state_dict(saved["engine"])
        if engine.owner:
            course.say(phase, "warmup")
        if course.progress.epoch < ends[index]:
            warm_up(engine, loader, steps=config.warmup_steps)
        environment.reset_peak_memory(workload.device)
        if saved is None:
            _begin(course, phase, engine, started=started)
        else:
            _set_random_state(saved["random"])
            if engine.owner and folder is not None:
                checkpoint.cut_metrics(course.directory, folder)
        _train(course, index, engine, loader, ends=ends)
        if index + 1 < len(config.parts):
            handed_over = hand_over(config, index, engine)
        saved = None
    return workload, engine


def _begin(course: Course, phase: Phase, engine: Engine, *, started: float) -> None:
    """Write down that a phase begins."""
    progress = course.progress
    if progress.epoch == 0:
        progress.start_seconds = time.time() - started
    progress.assignments.append((engine.assignment.block, engine.assignment.layers))
    progress.phase_seconds.append(0.0)
    if not engine.owner:
        return
    log = MetricsLog(course.directory)
    if course.config.phases:
        at = {"epoch": progress.epoch, "train_seconds": progress.train_seconds}
        log.write("phase", name=phase.name, **way(phase.config), **at)
    if engine.decisions:
        log.write("engine", **engine.decisions)
    log.close()


def _train(course: Course, index: int, engine: Engine, loader: Loader, *, ends: list[int]) -> None:
    """The epochs of a phase that are left, each with an evaluation. Collective."""
    config, progress, stopwatch = course.config, course.progress, course.stopwatch
    phase = config.parts[index]
    log = MetricsLog(course.directory, tensorboard=config.tensorboard) if engine.owner else None
    while progress.epoch < ends[index]:
        if engine.owner:
            course.say(phase, "training")
        means = train_epoch(engine, loader, config, progress, stopwatch=stopwatch, log=log)
        if config.trace_steps and progress.epoch == 1:
            write_trace(course.directory, engine.assignment, stopwatch)
        if engine.owner:
            course.say(phase, "evaluating")
        accuracy, test_loss = evaluate(engine, loader)
        progress.evaluations.append((progress.train_seconds, accuracy, test_loss))
        peak = environment.peak_memory_bytes(stopwatch.device)
        progress.peak_memory_bytes = max(progress.peak_memory_bytes, peak)
        if log is not None:
            log.write(
                "evaluate",
                epoch=progress.epoch,
                step=progress.step,
                train_seconds=progress.train_seconds,
                samples_per_second=progress.step * config.batch_size / progress.train_seconds,
                test_accuracy=accuracy,
                test_loss=test_loss,
                **({"phase": phase.name} if config.phases else {}),
                **means,
            )
        if _is_due(config, progress.epoch):
            content = {
                "phase": index,
                "progress": asdict(progress),
                "stopwatch": stopwatch.state_dict(),
                "engine": engine.state_dict(),
                "decisions": engine.decisions,
                "random": _random_state(stopwatch.device),
            }
            checkpoint.save(course.directory, content, epoch=progress.epoch, owner=engine.owner)
    if log is not None:
        log.close()


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
