"""What is predicted of a way of training, and how: a `Method` for each mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Protocol

from torch import nn

from layerpar.config import RunConfig
from layerpar.errors import UserError
from layerpar.predict.layers import Layers
from layerpar.predict.links import Link
from layerpar.predict.memory import Memory
from layerpar.predict.simulate import WorkerTimes

SIMULATED_MICROBATCHES = 48
"""Of a longer segment so many are simulated; the rest go at the pace of the second half of these."""
SIMULATED_TASKS = 2**14
"""Micro-batches times workers, at which fewer are simulated."""


@dataclass(frozen=True)
class Prediction:
    """A segment of steps, predicted.

    Attributes:
        seconds: Per step, filling and draining included.
        waiting: Fraction of their time that workers are blocked, mean over workers.
        sent_bytes: Per step, of all workers.
        memory: Of the worker that needs most.
        cuts: The first layer of each part but the first; empty where nothing is cut.
        trains_all: A step trains all layers.
    """

    seconds: float
    waiting: float
    sent_bytes: float
    memory: Memory
    cuts: list[int]
    trains_all: bool = True


class Method(Protocol):
    """A way of training on a number of workers, made ready for prediction."""

    @property
    def samples(self) -> int:
        """Of a micro-batch, on one worker."""

    def build_head(self, shape: tuple[int, ...]) -> nn.Module | None:
        """The auxiliary head of a block that puts out activations of this shape; None for none."""

    def predict(self, layers: Layers, link: Link, steps: int) -> Prediction:
        """A segment of so many steps."""


@singledispatch
def method(mode: Any, config: RunConfig, num_classes: int) -> Method:
    """How a mode is predicted; `mode` is `config.mode`, which `Mode.check` let through.

    Raises:
        UserError: nothing predicts modes of this class, one of a user's own.
    """
    raise UserError(f"nothing predicts mode={mode.name}; leave out its variant with ~variants.NAME")


def is_predicted(mode: Any) -> bool:
    """Whether `method` knows the class of this mode."""
    return method.dispatch(type(mode)) is not method.dispatch(object)


def no_head(shape: tuple[int, ...]) -> None:
    """For modes without auxiliary heads."""


def steps_to_simulate(steps: int, *, microbatches: int, workers: int) -> int:
    """Of a segment of so many steps, of so many micro-batches each."""
    most = min(SIMULATED_MICROBATCHES, SIMULATED_TASKS // workers)
    return min(steps, max(4, most // microbatches))


def stretched(times: Sequence[WorkerTimes], simulated: int, steps: int) -> float:
    """Seconds of a segment of so many steps, of which the first were simulated, with filling and draining.

    The others go at the pace of the slowest worker: what it took for a step of the second half of those that
    were simulated, or its computing alone where filling left that no time to show.
    """
    end = max(own.end for own in times)
    if steps == simulated:
        return end
    half = simulated // 2
    pace = max(
        max((own.steps[-1] - own.steps[half - 1]) / (simulated - half), own.busy / simulated) for own in times
    )
    return end + (steps - simulated) * pace


def waiting(times: Sequence[WorkerTimes], simulated: int, seconds: float) -> float:
    """Fraction of a step of so many seconds in which workers do not compute, mean over them."""
    busy = sum(own.busy for own in times) / len(times) / simulated
    return max(0.0, 1 - busy / seconds)
