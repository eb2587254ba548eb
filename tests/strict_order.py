"""Point-to-point operations by nccl's rule, on gloo: what an order of messages must stand without a GPU.

What two ranks post in a group is carried out strictly in the order posted, one operation at a time, whatever
its direction; tags count for nothing; a send ends when the receive at the head of the other rank's queue has
taken it. Their first operation in a group connects them, and holds whoever posts it until the other one is at
its own. Each rank has a thread per group and peer. A receive asks for its message; a send waits to be asked.
Collectives are gloo's own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from queue import SimpleQueue
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor

ASKED, MESSAGE, CONNECT = 1, 2, 3
"""Tags between the threads, for none of which the rule knows."""


class Operation:
    """A send or a receive, posted; what `dist.isend` and `dist.irecv` return."""

    def __init__(self, carry_out: Callable[[], None], *, patience_seconds: float) -> None:
        self.carry_out = carry_out
        self._patience_seconds = patience_seconds
        self.done = threading.Event()

    def is_completed(self) -> bool:
        return self.done.is_set()

    def wait(self) -> bool:
        if not self.done.wait(self._patience_seconds):
            raise TimeoutError(f"waited {self._patience_seconds} s for a peer")
        return True


@contextmanager
def strict_order(*, patience_seconds: float = 50.0) -> Iterator[None]:
    """Within, `dist.isend`, `dist.irecv`, `dist.send` and `dist.recv` follow the rule.

    Args:
        patience_seconds: After which whoever waits for an operation gets a `TimeoutError`.
    """
    isend, irecv = dist.isend, dist.irecv
    patience = timedelta(seconds=patience_seconds)
    queues: dict[tuple[dist.ProcessGroup | None, int], SimpleQueue[Operation]] = {}

    def post(carry_out: Callable[[], None], group: dist.ProcessGroup | None, peer: int) -> Operation:
        if (group, peer) not in queues:
            connect(group, peer)
            queues[group, peer] = SimpleQueue()
            threading.Thread(target=in_order, args=(queues[group, peer],), daemon=True).start()
        operation = Operation(carry_out, patience_seconds=patience_seconds)
        queues[group, peer].put(operation)
        return operation

    def connect(group: dist.ProcessGroup | None, peer: int) -> None:
        sent = isend(torch.zeros(1), peer, group=group, tag=CONNECT)
        try:
            irecv(torch.empty(1), peer, group=group, tag=CONNECT).wait(patience)
            sent.wait()
        except RuntimeError as error:
            raise TimeoutError(f"worker {peer} is not at its first operation in this group") from error

    def send(tensor: Tensor, peer: int, *, group: dist.ProcessGroup | None = None) -> Operation:
        def carry_out() -> None:
            irecv(torch.empty(1), peer, group=group, tag=ASKED).wait()
            isend(tensor, peer, group=group, tag=MESSAGE).wait()

        return post(carry_out, group, peer)

    def receive(tensor: Tensor, peer: int, *, group: dist.ProcessGroup | None = None) -> Operation:
        def carry_out() -> None:
            isend(torch.zeros(1), peer, group=group, tag=ASKED).wait()
            irecv(tensor, peer, group=group, tag=MESSAGE).wait()

        return post(carry_out, group, peer)

    def send_now(tensor: Tensor, peer: int, *, group: dist.ProcessGroup | None = None) -> None:
        send(tensor, peer, group=group).wait()

    def receive_now(tensor: Tensor, peer: int, *, group: dist.ProcessGroup | None = None) -> None:
        receive(tensor, peer, group=group).wait()

    ways = {"isend": send, "irecv": receive, "send": send_now, "recv": receive_now}
    with patch.multiple("torch.distributed", **ways):
        yield


def in_order(operations: SimpleQueue[Operation]) -> None:
    while True:
        operation = operations.get()
        operation.carry_out()
        operation.done.set()
