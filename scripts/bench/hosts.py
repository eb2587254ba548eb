"""Two hosts on one machine: network namespaces, joined by wires of chosen rates. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ADDRESSES = ("10.77.0.1", "10.77.0.2")
"""Of the hosts on their first wire."""
INTERFACE = "eth0"
BURST = "64kb"
"""That may pass at once before the rate holds."""

ENTER = """\
#!/bin/sh
# enter ADDRESS COMMAND-LINE, as ssh takes them. The second host has the last core, so that each worker
# has its own; the first may use all, for training on all cores.
case $1 in *.2) cores={last} ;; *) cores=0-{last} ;; esac
exec nsenter --net=/run/netns/{prefix}"$1" taskset -c $cores sh -c "$2"
"""


@contextmanager
def two_hosts(rate: str | None) -> Iterator[list[list[str]]]:
    """For each of two hosts with one wire, the words before a command that run it there.

    Args:
        rate: Of the wire in each direction, as `tc` writes it; None for no limit.
    """
    with wired({INTERFACE: rate}) as prefix:
        yield [["nsenter", f"--net=/run/netns/{prefix}{address}"] for address in ADDRESSES]


@contextmanager
def wired(rates: Mapping[str, str | None]) -> Iterator[str]:
    """Two hosts; gives what stands before their first addresses in the names of their namespaces.

    Args:
        rates: Of a wire between interfaces of this name, as above.
    """
    prefix = f"layerpar{os.getpid()}-"
    names = [prefix + address for address in ADDRESSES]
    try:
        for name in names:
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        for number, (interface, rate) in enumerate(rates.items()):
            _join(names, interface, rate, number)
        yield prefix
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def write_remote(folder: Path, prefix: str) -> Path:
    """A command for `launcher.remote` that reaches these hosts by their addresses."""
    script = folder / "enter"
    script.write_text(ENTER.format(prefix=prefix, last=(os.cpu_count() or 1) - 1))
    script.chmod(0o755)
    return script


def _join(names: list[str], interface: str, rate: str | None, number: int) -> None:
    first, second = names
    _run("ip", "link", "add", interface, "netns", first, "type", "veth",
         "peer", "name", interface, "netns", second)  # fmt: skip
    for name, side in zip(names, (1, 2), strict=True):
        _run("ip", "-n", name, "addr", "add", f"10.77.{number}.{side}/24", "dev", interface)
        _run("ip", "-n", name, "link", "set", interface, "up")
        if rate is not None:
            limit = ("root", "tbf", "rate", rate, "burst", BURST, "latency", "100ms")
            _run("tc", "-n", name, "qdisc", "add", "dev", interface, *limit)


def _run(*words: str) -> None:
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {ended.stderr.strip()}")
