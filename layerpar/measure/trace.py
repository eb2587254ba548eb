"""What every worker does when, over a few steps: recorded as spans, kept in Chrome's trace event format.

Perfetto and chrome://tracing open the file; the figure `timeline` is drawn from it. One row per worker:

    worker 0  [ forward 8 ][ backward 8 ][update]      [ forward 9 ] …
    worker 1  [ wait ][ forward 7 ][ backward 7 ][update] …
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
import torch.distributed as dist

from layerpar.measure.writing import write_json
from layerpar.paths import RunDirectory

KINDS = ("forward", "backward", "update", "exchange", "wait")
"""What a span may be: computing; packing, copying and handing over messages; blocked on a peer."""

STEP = "step"
"""The span around everything that one step does."""

MICROSECONDS = 1e6


@dataclass(frozen=True)
class Span:
    """Something one worker did.

    Attributes:
        kind: One of `KINDS`, or `STEP`.
        start: `perf_counter` seconds.
        end: `perf_counter` seconds.
        where: What it worked on: `batch` (the optimizer step, from 1, that first used it), and as far as a
            mode has them `block`, or `stage` and `microbatch` (from 0).
    """

    kind: str
    start: float
    end: float
    where: dict[str, int]


class Trace:
    """The spans of one worker.

    Spans are those of the host. On a GPU the device's current stream is brought to a halt at both ends of
    every span, so that a span lasts as long as its work; other streams may wait for messages that were
    announced ahead, and are left alone.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.spans: list[Span] = []
        self.step = 0

    def now(self) -> float:
        """`perf_counter`, once the device has done what was asked of it."""
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
        return perf_counter()

    @contextmanager
    def span(self, kind: str, where: dict[str, int], *, late: int = 0) -> Iterator[None]:
        """Record the enclosed work on the batch that came `late` steps ago."""
        start = self.now()
        yield
        self.add(kind, start, self.now(), where, late=late)

    def add(self, kind: str, start: float, end: float, where: dict[str, int], *, late: int = 0) -> None:
        """Record work that is over."""
        self.spans.append(Span(kind, start, end, {"batch": self.step - late} | where))


def middle(steps: int, steps_per_epoch: int) -> range:
    """So many steps (from 1) in the middle of an epoch: after a pipeline has filled, before it drains."""
    first = (steps_per_epoch - steps) // 2 + 1
    return range(first, first + steps)


def write(directory: RunDirectory, spans: list[Span], *, segment_start: float, layers: str) -> None:
    """Write the timeline of all workers, once the segment that was traced is over. Collective.

    Args:
        directory: The run's.
        spans: What this worker did.
        segment_start: When the segment started, by this worker's clock.
        layers: What this worker trains, to show.
    """
    name = f"worker {dist.get_rank()}, layers {layers}"
    gathered = gather(spans, segment_start=segment_start, name=name)
    if gathered is not None:
        write_json(directory.trace, gathered)


def gather(spans: list[Span], *, segment_start: float, name: str) -> dict[str, Any] | None:
    """All workers' spans as one Chrome trace, on rank 0; None elsewhere. Collective.

    Args:
        spans: This worker's.
        segment_start: When this worker left the barrier before the segment, by `perf_counter`.
        name: Of this worker, to show.
    """
    own = (platform.node(), segment_start, name, spans)
    every: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(own, every, dst=0)
    return None if every is None else chrome_trace(every)


def chrome_trace(workers: list[tuple[str, float, str, list[Span]]]) -> dict[str, Any]:
    """Spans in the trace event format ("Trace Event Format", Chromium project): one process per machine,
    one thread per worker, microseconds.

    `perf_counter` is one clock for all processes of a machine (CLOCK_MONOTONIC, on Linux), but not across
    machines: those are aligned at the barrier before the segment.

    Args:
        workers: By rank, its machine, when it left that barrier, its name, and its spans.
    """
    machines = list(dict.fromkeys(machine for machine, _, _, _ in workers))
    origin = {
        machine: min(start for other, start, _, _ in workers if other == machine) for machine in machines
    }
    events: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "pid": pid, "args": {"name": machine}}
        for pid, machine in enumerate(machines)
    ]
    for rank, (machine, _, name, spans) in enumerate(workers):
        place = {"pid": machines.index(machine), "tid": rank}
        events.append({"name": "thread_name", "ph": "M", **place, "args": {"name": name}})
        events += [
            {
                "name": " ".join([span.kind, *map(str, span.where.values())]),
                "cat": span.kind,
                "ph": "X",
                "ts": (span.start - origin[machine]) * MICROSECONDS,
                "dur": (span.end - span.start) * MICROSECONDS,
                **place,
                "args": span.where,
            }
            for span in spans
        ]
    return {"traceEvents": events, "displayTimeUnit": "ms"}
