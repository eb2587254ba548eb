"""Two hosts on one machine: network namespaces, joined by wires of chosen rates. Needs root."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ADDRESSES = ("10.77.0.1", "10.77.0.2")
"""Of the hosts on their first wire."""
INTERFACE = "eth0"
BURSTS = {"10gbit": "64kb", "1gbit": "16kb"}
BURST = "4kb"
"""What may pass at once before the rate holds: little beside a message, which would else be sent faster after
every pause, and enough for the rate."""

TRANSFER = """\
import socket, sys, time
address, seconds = sys.argv[1], float(sys.argv[2])
buffer, moved = bytearray(1 << 16), 0
if sys.argv[3] == "receive":
    server = socket.create_server((address, 29900))
    print("listening", flush=True)
    wire, _ = server.accept()
    while wire.recv_into(buffer):
        pass
else:
    wire = socket.create_connection((address, 29900))
    print("connected", flush=True)
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        moved += wire.send(buffer)
    print(moved / (time.perf_counter() - begun))
"""
TRANSFER_SECONDS = 4.0
SPINNING_SECONDS = 2.0

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


def core_nanoseconds(rate: str) -> float:
    """Of a core, for each byte that it sends or receives over such a wire, mean of both ends.

    The kernel makes these wires: no hardware cuts messages into packets, or gathers them. It does so between
    whatever runs, so that no process's own seconds tell: all cores count, and what they count less during a
    transfer is what it takes.
    """
    words = [sys.executable, "-c", TRANSFER, ADDRESSES[1], str(TRANSFER_SECONDS)]
    with two_hosts(rate) as (first, second):
        alone = _counted()
        receiver, sender = (
            _spoken_to([*host, *words, side]) for host, side in ((second, "receive"), (first, "send"))
        )
        beside = _counted()
        bytes_per_second = float(sender.communicate()[0])
        receiver.communicate()
    cores_taken = sum(1 - after / before for before, after in zip(alone, beside, strict=True))
    return 1e9 * max(0.0, cores_taken) / (2 * bytes_per_second)


def _spoken_to(words: list[str]) -> subprocess.Popen[str]:
    """A process that has said its first line."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def _counted() -> list[int]:
    """How far each core counts in `SPINNING_SECONDS`, after everything else that wants it."""
    cores = sorted(os.sched_getaffinity(0))
    with multiprocessing.get_context("fork").Pool(len(cores)) as pool:
        return pool.map(_count_on, cores, chunksize=1)


def _count_on(core: int) -> int:
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    count, end = 0, time.perf_counter() + SPINNING_SECONDS
    while time.perf_counter() < end:
        count += 1
    return count


def _join(names: list[str], interface: str, rate: str | None, number: int) -> None:
    first, second = names
    _run("ip", "link", "add", interface, "netns", first, "type", "veth",
         "peer", "name", interface, "netns", second)  # fmt: skip
    for name, side in zip(names, (1, 2), strict=True):
        _run("ip", "-n", name, "addr", "add", f"10.77.{number}.{side}/24", "dev", interface)
        _run("ip", "-n", name, "link", "set", interface, "up")
        if rate is not None:
            limit = ("root", "tbf", "rate", rate, "burst", BURSTS.get(rate, BURST), "latency", "100ms")
            _run("tc", "-n", name, "qdisc", "add", "dev", interface, *limit)


def _run(*words: str) -> None:
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {ended.stderr.strip()}")
