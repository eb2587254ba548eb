"""Two hosts on one machine: network namespaces, joined by a wire of a chosen rate. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

ADDRESSES = ("10.77.0.1", "10.77.0.2")
INTERFACE = "eth0"
BURST = "64kb"
"""That may pass at once before the rate holds."""


@contextmanager
def two_hosts(rate: str | None) -> Iterator[list[list[str]]]:
    """For each host, the words before a command that run it there.

    Args:
        rate: Of the wire in each direction, as `tc` writes it; None for no limit.
    """
    names = [f"layerpar{os.getpid()}{side}" for side in "ab"]
    try:
        for name in names:
            _run("ip", "netns", "add", name)
        first, second = names
        _run("ip", "link", "add", INTERFACE, "netns", first, "type", "veth",
             "peer", "name", INTERFACE, "netns", second)  # fmt: skip
        for name, address in zip(names, ADDRESSES, strict=True):
            _run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", INTERFACE)
            for device in ("lo", INTERFACE):
                _run("ip", "-n", name, "link", "set", device, "up")
            if rate is not None:
                limit = ("root", "tbf", "rate", rate, "burst", BURST, "latency", "100ms")
                _run("tc", "-n", name, "qdisc", "add", "dev", INTERFACE, *limit)
        yield [["nsenter", f"--net=/run/netns/{name}"] for name in names]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _run(*words: str) -> None:
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {ended.stderr.strip()}")
