"""What each schedule of `torch.distributed.pipelining` asks for, and which stages each worker holds.

loop, 2 workers, 4 stages        V, 2 workers, 4 stages
worker 0   0   2                 worker 0   0     3
worker 1     1   3               worker 1     1 2
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from layerpar.errors import require


@dataclass(frozen=True)
class Schedule:
    """A schedule's needs, as torch's own constructors check them.

    Attributes:
        class_name: In `torch.distributed.pipelining`.
        stages_per_worker: How many it has where nothing else is asked for.
        loops: Takes any number of stages per worker, laid out as a loop.
        v_shaped: Lays the stages out as a V, so that the first worker holds the last stage too.
        splits_backward: Runs the gradients of inputs and of weights apart.
        takes: Whether it takes so many micro-batches on so many workers.
        needs: The same in words.
    """

    class_name: str
    stages_per_worker: int = 1
    loops: bool = False
    v_shaped: bool = False
    splits_backward: bool = False
    takes: Callable[[int, int], bool] = lambda microbatches, workers: True
    needs: str = ""

    def placement(self, workers: int, stages_per_worker: int) -> list[list[int]]:
        """The stages of each worker, rising."""
        num_stages = workers * stages_per_worker
        if self.v_shaped:
            return [[rank, num_stages - 1 - rank] for rank in range(workers)]
        return [list(range(rank, num_stages, workers)) for rank in range(workers)]

    def build(self, stages: list[Any], microbatches: int, loss: Callable[[Tensor, Tensor], Tensor]) -> Any:
        """The schedule over this worker's stages; gradients add up over micro-batches as they are."""
        from torch.distributed import pipelining  # takes two seconds

        chosen = getattr(pipelining, self.class_name)
        several = self.loops or self.v_shaped
        return chosen(stages if several else stages[0], microbatches, loss_fn=loss, scale_grads=False)


def _one_each(microbatches: int, workers: int) -> bool:
    return microbatches >= workers


def _whole_rounds(microbatches: int, workers: int) -> bool:
    return microbatches % max(1, microbatches // workers) == 0


_ONE_EACH = "at least as many micro-batches as workers"
_ROUNDS = "as many micro-batches in each of its microbatches // workers rounds"

SCHEDULES = {
    "gpipe": Schedule("ScheduleGPipe", takes=_one_each, needs=_ONE_EACH),  # torch 2.10 insists
    "1f1b": Schedule("Schedule1F1B", takes=_one_each, needs=_ONE_EACH),
    "interleaved_1f1b": Schedule(
        "ScheduleInterleaved1F1B", 2, loops=True, takes=_whole_rounds, needs=_ROUNDS
    ),
    "looped_bfs": Schedule("ScheduleLoopedBFS", 2, loops=True),
    "interleaved_zero_bubble": Schedule(
        "ScheduleInterleavedZeroBubble",
        2,
        loops=True,
        splits_backward=True,
        takes=_whole_rounds,
        needs=_ROUNDS,
    ),
    "zbv": Schedule("ScheduleZBVZeroBubble", 2, v_shaped=True, splits_backward=True),
    "dualpipev": Schedule(
        "ScheduleDualPipeV",
        2,
        v_shaped=True,
        splits_backward=True,
        takes=lambda microbatches, workers: microbatches >= 2 * workers,
        needs="at least as many micro-batches as stages, two per worker",
    ),
}
"""GPipe (Huang et al. 2019, arXiv 1811.06965), 1F1B (Narayanan et al. 2019, arXiv 1806.03377) and its
interleaved form (2021, arXiv 2104.04473), looped breadth-first (Lamy-Poirier 2023, arXiv 2211.05953), zero
bubble and ZBV (Qi et al. 2024, arXiv 2401.10241), DualPipeV (DeepSeek-AI 2024, arXiv 2412.19437)."""


def check_microbatches(name: str, microbatches: int, *, batch_size: int, workers: int) -> None:
    """Refuse micro-batches of different sizes, and numbers of them that the schedule cannot run.

    Raises:
        UserError: with the nearest number that works.
    """
    schedule = SCHEDULES[name]
    divisors = [number for number in range(1, batch_size + 1) if batch_size % number == 0]
    usable = [number for number in divisors if schedule.takes(number, workers)]
    require(
        bool(usable),
        f"pipeline: mode.schedule={name} needs {schedule.needs}, but batch_size={batch_size} cannot be cut "
        f"so for workers={workers}; try batch_size={2 * workers}",
    )
    nearest = min(usable, key=lambda number: (abs(number - microbatches), -number))
    require(
        batch_size % microbatches == 0,
        f"pipeline: microbatches={microbatches} does not divide batch_size={batch_size}; "
        f"try mode.microbatches={nearest}",
    )
    require(
        schedule.takes(microbatches, workers),
        f"pipeline: mode.schedule={name} needs {schedule.needs}, and microbatches={microbatches} is not that "
        f"for workers={workers}; try mode.microbatches={nearest}",
    )
