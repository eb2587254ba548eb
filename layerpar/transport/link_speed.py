"""How fast the link between two workers is: latency and bandwidth, measured with a few messages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
import torch.distributed as dist

from layerpar.measure.stopwatch import synchronize
from layerpar.transport.links import connect

SMALL_BYTES, ROUND_TRIPS = 8, 20
LARGE_BYTES = (2**18, 2**20, 2**22)
"""Of a message, rising; each is sent three times."""
ENOUGH_SECONDS = 0.02
"""A message that takes longer is the last: a slow link needs no larger one."""


@dataclass(frozen=True)
class LinkSpeed:
    """What two workers measured.

    Attributes:
        ranks: Which two.
        nodes: Where they are.
        latency_microseconds: Half of a round trip, median.
        bandwidth_gigabits: Gbit/s of the fastest message of up to 4 MiB, less the time of a small one.
    """

    ranks: tuple[int, int]
    nodes: tuple[int, int]
    latency_microseconds: float
    bandwidth_gigabits: float


def ends(nodes: Sequence[int]) -> tuple[int, int] | None:
    """The two workers that measure: worker 0 and the first on another node, else worker 1.

    Args:
        nodes: Of each worker.

    Returns:
        Their ranks, None for a single worker.
    """
    if len(nodes) < 2:
        return None
    return 0, next((rank for rank, node in enumerate(nodes) if node != nodes[0]), 1)


def measure(nodes: Sequence[int], device: torch.device) -> LinkSpeed | None:
    """Measure the link between two nodes, or between two workers of one. Collective, but workers that have no
    part in it return at once. It takes less than 0.2 s on a link of 100 Mbit/s.

    Args:
        nodes: Of each worker.
        device: Where the tensors lie that this worker sends: the CPU where gloo carries them.

    Returns:
        On worker 0 what was measured, None for a single worker; None on all others.
    """
    pair = ends(nodes)
    if pair is None or dist.get_rank() not in pair:
        return None
    first, second = pair
    begins = dist.get_rank() == first
    for source, target in ((None, second), (second, None)) if begins else ((first, None), (None, first)):
        connect(source, target, device=device)
    if dist.get_rank() == second:
        _answer(first, device)
        return None
    small = [_round_trip(second, SMALL_BYTES, device) for _ in range(ROUND_TRIPS)]
    latency = median(small) / 2
    for size in LARGE_BYTES:
        large = min(_round_trip(second, size, device) for _ in range(3))
        if large > ENOUGH_SECONDS:
            break
    dist.send(torch.tensor([0]), second)
    bandwidth = 8e-9 * size / carrying_seconds(small=min(small), large=large)
    return LinkSpeed(pair, (nodes[first], nodes[second]), _rounded(1e6 * latency), _rounded(bandwidth))


def carrying_seconds(*, small: float, large: float) -> float:
    """What of a large message's time is its bytes', by the shortest times of both, seconds.

    Where the small one takes most of it, busy cores have delayed both: then the whole, so that a bandwidth is
    told too small rather than without bound.
    """
    return large - small if large > 2 * small else large


def _round_trip(peer: int, size: int, device: torch.device) -> float:
    """Seconds from sending so many bytes to the answer of one."""
    message, answer = (torch.zeros(count, dtype=torch.uint8, device=device) for count in (size, 1))
    dist.send(torch.tensor([size]), peer)
    dist.recv(torch.empty(1, dtype=torch.int64), peer)  # it has posted its receive
    synchronize(device)
    begun = time.perf_counter()
    dist.send(message, peer)
    dist.recv(answer, peer)
    synchronize(device)
    return time.perf_counter() - begun


def _answer(peer: int, device: torch.device) -> None:
    """The other end of `_round_trip`, until a size of 0. Sizes travel through gloo, beside nccl too, which
    would carry out a receive before it sends that it is ready."""
    size = torch.empty(1, dtype=torch.int64)
    answer = torch.zeros(1, dtype=torch.uint8, device=device)
    while True:
        dist.recv(size, peer)
        if not size.item():
            return
        message = torch.zeros(int(size.item()), dtype=torch.uint8, device=device)
        work = dist.irecv(message, peer)
        dist.send(size, peer)
        assert work is not None
        work.wait()
        dist.send(answer, peer)
        synchronize(device)


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
