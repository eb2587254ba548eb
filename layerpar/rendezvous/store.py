"""How workers find each other: the store they share, as their launcher has put it into their environment.

LAYERPAR_STORE=file:PATH         one machine: a file in a folder that only this user can read
LAYERPAR_STORE=tcp:PORT/RUN_ID   several: a port of the first of LAYERPAR_HOSTS; keys begin with a secret id
none                             by hand, under torchrun: env://
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist

from layerpar.errors import LostPeerError, UserError
from layerpar.rendezvous import network
from layerpar.variables import HOSTS, INTERFACE, NODE, STORE


@dataclass(frozen=True)
class Meeting:
    """Where this worker meets the others.

    Attributes:
        store: Shared by all workers.
        rank: This worker.
        world_size: How many there are.
        place: Its host, address and interface, for messages; None on one machine.
    """

    store: dist.Store
    rank: int
    world_size: int
    place: str | None = None

    def failure(self, reason: str) -> LostPeerError:
        """The error that they did not come together, with what may repair it."""
        if self.place is None:
            return LostPeerError(f"{reason}; raise launcher.join_seconds if the machine is only slow")
        return LostPeerError(
            f"{reason}, seen from worker {self.rank} on {self.place}; try launcher.interface=NAME"
        )


def open_meeting(*, join_seconds: float) -> Meeting:
    """The store of this run, as the environment says.

    Args:
        join_seconds: How long worker 0 may take to open it.

    Raises:
        UserError: this host does not know the others, or the port is in use.
        LostPeerError: worker 0 does not answer.
    """
    address, timeout = os.environ.get(STORE), timedelta(seconds=join_seconds)
    if address is None:
        store, rank, world_size = next(dist.rendezvous("env://", timeout=timeout))
        return Meeting(store, rank, world_size)
    kind, _, rest = address.partition(":")
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if kind == "tcp":
        port, _, run_id = rest.partition("/")
        return _across_hosts(rank, world_size, int(port), run_id, join_seconds=join_seconds)
    store = dist.FileStore(rest, world_size)
    store.set_timeout(timeout)
    return Meeting(store, rank, world_size)


def _across_hosts(rank: int, world_size: int, port: int, run_id: str, *, join_seconds: float) -> Meeting:
    """Worker 0 listens on the way to the other hosts, the others connect to it by its name; messages take
    the interface that was asked for, which may be another."""
    hosts, node = os.environ[HOSTS].split(), int(os.environ[NODE])
    peers = hosts[1:] if node == 0 else hosts
    own = network.route_to(network.resolve(peers[0])) if peers else "127.0.0.1"
    interface = os.environ.get(INTERFACE) or network.interface_with(own)
    network.address_of(interface)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={interface}")  # else also those whose names begin so
    place, first = f"{hosts[node]} ({own}, {interface})", own if node == 0 else network.resolve(hosts[0])
    timeout = timedelta(seconds=join_seconds)
    try:
        if rank == 0:
            opened = dist.TCPStore(
                own,
                port,
                is_master=True,
                wait_for_workers=False,
                timeout=timeout,
                master_listen_fd=_listen(own, port),
            )
        else:
            opened = dist.TCPStore(first, port, is_master=False, timeout=timeout)
    except dist.DistError:
        raise LostPeerError(
            f"cannot reach worker 0 on {hosts[0]} ({first}:{port}) from {place} within "
            f"launcher.join_seconds={join_seconds}; try launcher.interface=NAME"
        ) from None
    return Meeting(dist.PrefixStore(run_id, opened), rank, world_size, place)


def _listen(address: str, port: int) -> int:
    """A socket that listens there and nowhere else, for the store to take over."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise UserError(
            f"port {port} of {address} is in use; try launcher.port=0, which draws one anew"
        ) from None
    listener.listen(1024)
    return listener.detach()
