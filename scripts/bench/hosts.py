"""Two hosts on one machine: network namespaces, joined by wires of chosen rates. Needs root."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ADDRESSES = ("10.77.0.1", "10.77.0.2")
"""Of the hosts on their first wire."""
INTERFACE = "eth0"
BURSTS = {"10gbit": "64kb"}
BURST = "16kb"
"""What may pass at once before the rate holds: little beside a message, enough for the rate."""

TRANSFER = """\
import socket, sys, time
address, num_bytes = sys.argv[1], int(sys.argv[2])
buffer, moved = bytearray(1 << 20), 0
if sys.argv[3] == "receive":
    server = socket.create_server((address, 29900))
    print("listening", flush=True)
    wire, _ = server.accept()
    move = lambda: wire.recv_into(buffer)
else:
    wire = socket.create_connection((address, 29900))
    move = lambda: wire.sendall(buffer) or len(buffer)
begun = time.process_time()
while moved < num_bytes:
    moved += move()
print(time.process_time() - begun)
"""

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

    The kernel makes these wires: no hardware cuts messages into packets, or gathers them.
    """
    num_bytes = 2 ** (26 if rate.endswith("gbit") else 23)
    words = [sys.executable, "-c", TRANSFER, ADDRESSES[1], str(num_bytes)]
    with two_hosts(rate) as (first, second):
        receiver = subprocess.Popen([*second, *words, "receive"], stdout=subprocess.PIPE, text=True)
        assert receiver.stdout is not None
        receiver.stdout.readline()
        sent = subprocess.run([*first, *words, "send"], stdout=subprocess.PIPE, text=True, check=True).stdout
        received = receiver.communicate()[0]
    return 1e9 * (float(sent) + float(received)) / 2 / num_bytes


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
