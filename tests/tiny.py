"""What multi-process tests share: tiny configurations, and gloo workers that start in an instant."""

from __future__ import annotations

import gc
import os
import pickle
import tempfile
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from forking import context
from hydra import initialize_config_dir
from torch import Tensor

from layerpar.composer import Composer
from layerpar.config import RunConfig, load, parse
from layerpar.datasets.base import Loader
from layerpar.engine.contract import Engine
from layerpar.launchers.base import Launcher, rank_environment
from layerpar.measure.stopwatch import Stopwatch
from layerpar.measure.trace import middle
from layerpar.paths import RunDirectory, config_directory
from layerpar.phases import assemble
from layerpar.rendezvous import liveness
from layerpar.rendezvous.ranks import Ranks
from layerpar.trainer import run
from layerpar.variables import STORE

TINY = (
    "dataset=digits",
    "dataset.train_limit=96",
    "dataset.test_limit=40",
    "architecture.depth=4",
    "architecture.width=12",
    "batch_size=16",
    "epochs=1",
    "warmup_steps=0",
    "device=cpu",
    "optimizer.lr=0.05",
)
OBJECTIVES = (
    "objective=local",
    "objective=local mode.exchange=weights",
    "objective=local objective.overlap=2",
    "objective=delayed",
    "objective=delayed objective.recompute=true",
    "objective=frozen mode.exchange=weights",
)
"""Every objective with every exchange it can do with."""

TIMEOUT_SECONDS = 180
"""After which workers hang, however slow the machine is."""


def composed(*overrides: str) -> RunConfig:
    """The run that `layerpar train OVERRIDES` would be."""
    with initialize_config_dir(version_base="1.3", config_dir=str(config_directory())):
        return parse(_compose(overrides))


_compose = Composer("train")


def tiny(*overrides: str) -> RunConfig:
    """A run small enough for a unit test."""
    return composed(*TINY, *overrides)


def on_workers(function: Callable[..., Any], world_size: int, *arguments: Any) -> list[Any]:
    """Call `function(ranks, *arguments)` on so many gloo workers; their results, by rank."""
    with tempfile.TemporaryDirectory() as folder:
        pipes = [context.Pipe(duplex=False) for _ in range(world_size)]
        workers = [
            context.Process(
                target=_work, args=(function, rank, world_size, f"{folder}/store", pipes[rank][1], arguments)
            )
            for rank in range(world_size)
        ]
        for worker in workers:
            worker.start()
        for _, writer in pipes:
            writer.close()
        try:
            results = [_receive(reader) for reader, _ in pipes]
        finally:
            for worker in workers:
                worker.join(timeout=5)
                worker.kill()
                worker.join()
                worker.close()
            for reader, _ in pipes:
                reader.close()
    failed = [error for ok, error in results if not ok]
    assert not failed, "\n".join(failed)
    return [result for _, result in results]


def launched(launcher: Launcher, directory: RunDirectory, *, workers: int, started: float) -> None:
    """What `LocalLauncher.launch` does, by workers that start in an instant."""
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            context.Process(target=_work_on, args=(directory, rank, workers, f"{folder}/store", started))
            for rank in range(workers)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(timeout=TIMEOUT_SECONDS)
            process.kill()
            process.join()
        codes = [process.exitcode for process in processes]
    assert not any(codes), f"workers of {directory.root} ended with {codes}"


def _work_on(directory: RunDirectory, rank: int, workers: int, store: str, started: float) -> None:
    gc.freeze()
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo", STORE: f"file:{store}"}
    os.environ |= rank_environment(rank, world_size=workers, local_rank=rank, local_world_size=workers)
    config = load(directory.run_yaml)
    torch.set_num_threads(config.threads_per_worker)
    run(config, directory, started=started)
    liveness.leave()
    dist.destroy_process_group()


def build(config: RunConfig, ranks: Ranks) -> tuple[Engine, Loader]:
    """This worker's engine and loader, as the worker makes them."""
    _, engine, loader = assemble(config, ranks, Stopwatch(torch.device("cpu")))
    return engine, loader


def take_steps(engine: Engine, loader: Loader, steps: int) -> None:
    """A segment of so many steps, on the first batches of the first epoch."""
    batches = loader.train(0)
    engine.start(steps)
    for _ in range(steps):
        engine.step(next(batches))
    engine.finish()


def take_epochs(engine: Engine, loader: Loader, epochs: int) -> None:
    """So many segments, each an epoch."""
    for epoch in range(epochs):
        engine.start(loader.steps_per_epoch)
        for batch in loader.train(epoch):
            engine.step(batch)
        engine.finish()


def trained(ranks: Ranks, config: RunConfig, steps: int) -> dict[str, Tensor] | None:
    """The network's weights after so many steps; None on ranks that do not hold them."""
    engine, loader = build(config, ranks)
    take_steps(engine, loader, steps)
    return engine.full_state()


def captured(ranks: Ranks, config: RunConfig, steps: int) -> dict[str, Tensor] | None:
    """`trained`, but what would be compiled is only captured as for the compiler, then run as it is."""
    torch.compile = partial(torch.compile, backend="eager")
    return trained(ranks, config, steps)


def counted(ranks: Ranks, config: RunConfig, steps: int) -> Stopwatch:
    """The stopwatch of a worker after a segment of so many steps."""
    stopwatch = Stopwatch(torch.device("cpu"))
    _, engine, loader = assemble(config, ranks, stopwatch)
    batches = loader.train(0)
    stopwatch.start()
    engine.start(steps)
    traced = middle(config.trace_steps, steps)
    for number in range(1, steps + 1):
        with stopwatch.step(number, traced=number in traced):
            engine.step(next(batches))
    engine.finish()
    stopwatch.stop()
    return stopwatch


def weights_after(config: RunConfig, steps: int) -> dict[str, Tensor]:
    """The network's weights after training `steps` steps on as many workers as the run asks for."""
    results = on_workers(trained, config.num_workers, config, steps)
    held = [state for state in results if state is not None]
    assert len(held) == 1, "exactly one rank owns the network"
    return held[0]


def immoderate(state: dict[str, Tensor], limit: float = 1e3) -> dict[str, float]:
    """The largest value of each tensor that has one beyond the limit, or one that is not finite.

    Two ways of training that are equal on paper differ visibly where the network is about to diverge.
    """
    largest = {name: float(tensor.abs().max()) for name, tensor in state.items()}
    return {name: value for name, value in largest.items() if not value <= limit}


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Over all tensors, which must have the same names and shapes."""
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


def _work(
    function: Callable[..., Any],
    rank: int,
    world_size: int,
    store: str,
    writer: Any,
    arguments: tuple[Any, ...],
) -> None:
    gc.freeze()  # else a collection walks through, and so copies, all that the server has imported
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    try:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
        writer.send_bytes(pickle.dumps((True, function(Ranks(rank, world_size), *arguments))))
        dist.barrier()
        dist.destroy_process_group()
    except BaseException:
        writer.send_bytes(pickle.dumps((False, traceback.format_exc())))
        os._exit(1)


def _receive(reader: Any) -> tuple[bool, Any]:
    if not reader.poll(TIMEOUT_SECONDS):
        return False, f"a worker said nothing for {TIMEOUT_SECONDS} s"
    try:
        return pickle.loads(reader.recv_bytes())
    except EOFError:
        return False, "a worker died without a word"
