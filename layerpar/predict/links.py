"""Links between workers: how long a message and the usual collectives take on them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from layerpar.errors import UserError, require

CORE_SECONDS = 0.3e-9
"""Per byte, where workers compute on the cores that also copy their messages: gloo over sockets on an AMD
EPYC, where computing and an all-reduce at once took the sum of both."""

BUSY_CORES = 200e-6
"""Latency that comes on top between workers that keep their cores busy: the threads that hand a message on
must first get one. Fitted to pipelines of two workers on one machine (AMD EPYC)."""

TCP = 0.94
"""Payload that is left of an Ethernet link by the headers of frames, IP and TCP."""


@dataclass(frozen=True)
class Link:
    """What every worker has towards the others; both directions at once.

    Attributes:
        name: As tables show it.
        latency: Seconds from the last byte sent to the message being there.
        bandwidth: Bytes per second.
        core_seconds: Of a worker's own core, that it cannot compute in, for each byte sent or received.
        busy_latency: Seconds of latency that come on top where workers' cores are busy with computing.
    """

    name: str
    latency: float
    bandwidth: float
    core_seconds: float = 0.0
    busy_latency: float = 0.0

    def between_cpus(self) -> Link:
        """As workers see it whose cores both compute and carry messages."""
        return replace(self, latency=self.latency + self.busy_latency, busy_latency=0.0)

    def between_gpus(self) -> Link:
        """As workers see it that compute elsewhere."""
        return replace(self, core_seconds=0.0, busy_latency=0.0)

    def seconds(self, num_bytes: float) -> float:
        """A message: latency + bytes / bandwidth."""
        return self.latency + num_bytes / self.bandwidth

    def all_reduce_seconds(self, num_bytes: float, workers: int) -> float:
        """A ring all-reduce: 2 (W - 1) / W · bytes / bandwidth + 2 (W - 1) · latency.

        Thakur et al. 2005, "Optimization of collective communication operations in MPICH".
        """
        rounds = 2 * (workers - 1)
        return rounds * (num_bytes / workers / self.bandwidth + self.latency)

    def broadcast_seconds(self, num_bytes: float, workers: int) -> float:
        """A binomial tree: as many messages one after the other as W has binary digits."""
        return math.ceil(math.log2(workers)) * self.seconds(num_bytes)


def _link(name: str, latency: float, bandwidth: float) -> Link:
    return Link(name, latency, bandwidth, CORE_SECONDS, BUSY_CORES)


def _ethernet(name: str, gigabits: float, latency: float) -> Link:
    return _link(name, latency, TCP * gigabits * 1e9 / 8)


LINKS = {
    link.name: link
    for link in (
        _link("loopback", 50e-6, 1.5e9),
        _link("nvlink", 5e-6, 200e9),
        _ethernet("100gbit", 100, 20e-6),
        _ethernet("10gbit", 10, 50e-6),
        _ethernet("1gbit", 1, 100e-6),
        _ethernet("100mbit", 0.1, 100e-6),
    )
}
"""Usual links. Their figures are typical ones, not measured here; `bandwidth` and `latency` give others."""


def choose(
    names: list[str], *, bandwidths: list[float], latency: float | None, core: float | None = None
) -> list[Link]:
    """The links asked for: known ones, or those of some bandwidths.

    Args:
        names: Keys of `LINKS`; not looked at where there are bandwidths.
        bandwidths: In Gbit/s.
        latency: In microseconds, of all that delays a message; None for what the links have (100 where there
            are bandwidths) and what busy cores add.
        core: Nanoseconds of a worker's core per byte sent or received; None for `CORE_SECONDS`.

    Raises:
        UserError: an unknown link, one of no bandwidth, or a negative latency or time.
    """
    require(latency is None or latency >= 0, f"latency={latency} is negative; try latency=100 (microseconds)")
    require(core is None or core >= 0, f"core={core} is negative; try core=0.3 (nanoseconds per byte)")
    for value in bandwidths:
        require(
            0 < value < math.inf,
            f"bandwidth={value:g} is no bandwidth: nothing would ever arrive; try bandwidth=1 (Gbit/s)",
        )
    require(bool(names or bandwidths), "link= names no link; try link=1gbit")
    for name in names:
        if name not in LINKS:
            raise UserError(f"link={name} is not known; try link=1gbit (one of {', '.join(LINKS)})")
    chosen = [_link(f"{value:g} Gbit/s", 100e-6, value * 1e9 / 8) for value in bandwidths]
    if not chosen:
        chosen = [LINKS[name] for name in names]
    if latency is not None:
        chosen = [replace(link, latency=latency * 1e-6, busy_latency=0.0) for link in chosen]
    return chosen if core is None else [replace(link, core_seconds=core * 1e-9) for link in chosen]
