"""Telling a peer that works from one that is gone.

A worker that waits for work (a serial phase, an evaluation on one rank, a long measurement) must not take
the silence for the end of the others. So every worker says from time to time that it is alive, and `meet`
waits for the others however long they work, as long as they say so. Messages of training steps do not come
here: they have a timeout of their own.
"""

from __future__ import annotations

import threading
import time

import torch.distributed as dist

from layerpar.errors import LostPeerError

MOST_POLL_SECONDS = 0.05


class Liveness:
    """The signs of life of this worker and of all others, in the store that they share.

    Args:
        store: Shared by all workers.
        rank: This worker.
        world_size: How many there are.
        timeout_seconds: After how long without a sign of life a worker is given up.
    """

    def __init__(self, store: dist.Store, rank: int, world_size: int, *, timeout_seconds: float) -> None:
        self._store = store
        self._rank = rank
        self._world_size = world_size
        self._timeout_seconds = timeout_seconds
        self._meetings = 0
        self._beats = 0
        now = time.monotonic()
        self._seen: dict[int, tuple[bytes, float]] = dict.fromkeys(range(world_size), (b"0", now))
        self._last_look = now
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def join(self, *, seconds: float, device: str) -> list[int]:
        """Wait for all workers, and begin to give signs of life. Collective.

        Args:
            seconds: How long.
            device: What this worker computes on, for the others.

        Returns:
            Those that did not come within `seconds`.
        """
        self._store.set(self._alive(self._rank), b"0")
        self._store.set(self._device(self._rank), device.encode())
        self._store.set(self._arrived(self._rank), b"0")
        deadline = time.monotonic() + seconds
        missing = list(range(self._world_size))
        pause = _Pause()
        while missing and time.monotonic() < deadline:
            missing = [rank for rank in missing if not self._store.check([self._arrived(rank)])]
            pause.take(missing)
        if not missing:
            self._thread.start()
        return missing

    def devices(self) -> list[str]:
        """What every worker computes on, by rank, once they have joined."""
        return [self._store.get(self._device(rank)).decode() for rank in range(self._world_size)]

    def meet(self) -> None:
        """Wait until every worker has come here as often as this one. Collective.

        Raises:
            LostPeerError: one that is missing gave no sign of life for `timeout_seconds`.
        """
        self._arrive()
        self._wait()

    def leave(self) -> None:
        """The last meeting: worker 0, which may keep the store, waits for the others; they just go."""
        self._arrive()
        if self._rank == 0:
            self._wait()
        self.end()

    def end(self) -> None:
        """Give no more signs of life."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def silent(self) -> tuple[int, ...]:
        """Workers without a sign of life for most of `timeout_seconds`; if the store itself does not
        answer, rank 0, which keeps it."""
        long_ago = time.monotonic() - 0.6 * self._timeout_seconds
        if self._last_look < long_ago:
            return (0,)
        others = (rank for rank in range(self._world_size) if rank != self._rank)
        return tuple(rank for rank in others if self._seen[rank][1] < long_ago)

    def _arrive(self) -> None:
        self._meetings += 1
        self._store.set(self._arrived(self._rank), str(self._meetings))

    def _wait(self) -> None:
        missing = [rank for rank in range(self._world_size) if rank != self._rank]
        begun, pause = time.monotonic(), _Pause()
        while missing:
            missing = [rank for rank in missing if int(self._store.get(self._arrived(rank))) < self._meetings]
            now = time.monotonic()
            silent = [
                rank for rank in missing if now - max(begun, self._seen[rank][1]) > self._timeout_seconds
            ]
            if silent:
                raise LostPeerError(
                    f"worker {silent[0]} gave no sign of life", silent=tuple(silent), timed_out=True
                )
            pause.take(missing)

    def _beat(self) -> None:
        interval = self._timeout_seconds / 5
        while not self._over.is_set():
            try:
                self._beats += 1
                self._store.set(self._alive(self._rank), str(self._beats))
                for rank in range(self._world_size):
                    sign = self._store.get(self._alive(rank))
                    self._last_look = time.monotonic()
                    if sign != self._seen[rank][0]:
                        self._seen[rank] = (sign, self._last_look)
            except (
                RuntimeError
            ):  # whoever kept the store has ended: so will the others, for reasons of their own
                return
            self._over.wait(interval)

    def _alive(self, rank: int) -> str:
        return f"layerpar/alive/{rank}"

    def _arrived(self, rank: int) -> str:
        return f"layerpar/arrived/{rank}"

    def _device(self, rank: int) -> str:
        return f"layerpar/device/{rank}"


class _Pause:
    """Between two looks: short at first, then longer."""

    def __init__(self) -> None:
        self._seconds = 0.0005

    def take(self, missing: list[int]) -> None:
        if missing:
            time.sleep(self._seconds)
            self._seconds = min(2 * self._seconds, MOST_POLL_SECONDS)


_of_this_worker: Liveness | None = None


def begin(liveness: Liveness) -> None:
    """Make it the one that `meet` and `silent` ask, as torch has one default process group."""
    global _of_this_worker
    _of_this_worker = liveness


def meet() -> None:
    """Wait for all workers, however long they work. Collective. Call it before an exchange that follows on
    work which not all of them have; outside the clock.

    Raises:
        LostPeerError: one of them gives no sign of life.
    """
    if _of_this_worker is not None:
        _of_this_worker.meet()


def leave() -> None:
    """Meet for the last time, before the process ends. Collective."""
    if _of_this_worker is not None:
        _of_this_worker.leave()


def silent() -> tuple[int, ...]:
    """The workers that give no sign of life."""
    return () if _of_this_worker is None else _of_this_worker.silent()
