"""Links between workers: how long a message and the usual collectives take on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from layerpar.errors import UserError, require

CORE_SECONDS = 0.3e-9
"""Per byte, where workers compute on the cores that also copy their messages: gloo over sockets on an AMD
EPYC, where computing and an all-reduce at once took the sum of both."""

BUSY_CORES = 500e-6
"""Latency between workers on one machine that keep its cores busy: the thread that hands a message on must
first get one. Where cores idle it is a tenth of that."""

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
    """

    name: str
    latency: float
    bandwidth: float
    core_seconds: float = 0.0

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


def _ethernet(name: str, gigabits: float, latency: float) -> Link:
    return Link(name, latency, TCP * gigabits * 1e9 / 8)


LINKS = {
    link.name: link
    for link in (
        Link("loopback", BUSY_CORES, 1.5e9),
        Link("nvlink", 5e-6, 200e9),
        _ethernet("100gbit", 100, 20e-6),
        _ethernet("10gbit", 10, 50e-6),
        _ethernet("1gbit", 1, 100e-6),
        _ethernet("100mbit", 0.1, 100e-6),
    )
}
"""Usual links. Their figures are typical ones, not measured here; `bandwidth` and `latency` give others."""


def choose(names: list[str], *, bandwidths: list[float], latency: float | None) -> list[Link]:
    """The links asked for: known ones, or those of some bandwidths.

    Args:
        names: Keys of `LINKS`; not looked at where there are bandwidths.
        bandwidths: In Gbit/s.
        latency: In microseconds; None for what the links have (100 where there are bandwidths).

    Raises:
        UserError: an unknown link, one of no bandwidth, or a negative latency.
    """
    require(latency is None or latency >= 0, f"latency={latency} is negative; try latency=100 (microseconds)")
    for value in bandwidths:
        require(
            0 < value < math.inf,
            f"bandwidth={value:g} is no bandwidth: nothing would ever arrive; try bandwidth=1 (Gbit/s)",
        )
    for name in names:
        if name not in LINKS:
            raise UserError(f"link={name} is not known; try link=1gbit (one of {', '.join(LINKS)})")
    seconds = None if latency is None else latency * 1e-6
    if bandwidths:
        latency_seconds = 100e-6 if seconds is None else seconds
        return [Link(f"{value:g} Gbit/s", latency_seconds, value * 1e9 / 8) for value in bandwidths]
    chosen = [LINKS[name] for name in names]
    return chosen if seconds is None else [Link(link.name, seconds, link.bandwidth) for link in chosen]
