"""How a tensor gets from one block to the next: a queue inside a worker, messages between workers.

    block 0 ── Queue ──> block 1 ── Sender ~~~ wire ~~~> Receiver ── block 2

Both keep order and lose nothing, so what is computed never depends on where the blocks are placed.
Receives are posted ahead and sends complete in the background: both overlap with computing. Each kind of
message has a process group of its own, with which its order holds on every backend: nccl carries out what
two ranks post in a group strictly in order, and knows no tags.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from layerpar.measure.stopwatch import Stopwatch, synchronize


class Source(Protocol):
    """Where a block takes tensors from."""

    def get(self) -> Tensor:
        """The next tensor in order; waits for it."""
        ...


class Sink(Protocol):
    """Where a block puts tensors."""

    def put(self, tensor: Tensor) -> None:
        """Hand a tensor over; it must not be changed afterwards."""
        ...


class Queue:
    """Links two blocks of one worker."""

    def __init__(self) -> None:
        self._waiting: deque[Tensor] = deque()

    def get(self) -> Tensor:
        return self._waiting.popleft()

    def put(self, tensor: Tensor) -> None:
        self._waiting.append(tensor)


def connect(
    source: int | None, target: int | None, *, device: torch.device, group: dist.ProcessGroup | None = None
) -> None:
    """Let messages come from one worker and go to another. Collective over a chain of workers.

    nccl connects two workers with their first message in a group, and holds each of them until the other is
    at it. So that must not be one that is posted ahead.

    Args:
        source: The worker before in the chain, None for the first.
        target: The worker after, None for the last.
        device: Where the messages lie.
        group: In which they are sent.
    """
    token = torch.zeros(1, device=device)
    if source is not None:
        dist.recv(token, source, group=group)
    if target is not None:
        dist.send(token, target, group=group)
    synchronize(device)


@dataclass(frozen=True)
class Wire:
    """What crosses between two workers.

    Attributes:
        shape: Of one sample's tensor.
        dtype: Of the tensor.
        channels_last: Send (batch, height, width, channel), as which such an activation is contiguous.
        via_host: Copy through the CPU's memory, where the backend takes nothing else (gloo beside a GPU).
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    channels_last: bool
    via_host: bool

    @property
    def _permuted(self) -> bool:
        return self.channels_last and len(self.shape) == 3

    def pack(self, tensor: Tensor) -> Tensor:
        """The contiguous tensor to send."""
        wire = (tensor.permute(0, 2, 3, 1) if self._permuted else tensor).contiguous()
        return wire.cpu() if self.via_host else wire

    def buffer(self, batch: int, device: torch.device) -> Tensor:
        """Memory to receive a batch into."""
        channels, *rest = self.shape
        shape = (*rest, channels) if self._permuted else self.shape
        return torch.empty((batch, *shape), dtype=self.dtype, device="cpu" if self.via_host else device)

    def unpack(self, wire: Tensor, device: torch.device) -> Tensor:
        """The activation that `pack` was given."""
        tensor = wire.to(device)
        return tensor.permute(0, 3, 1, 2) if self._permuted else tensor

    def num_bytes(self, batch: int) -> int:
        """Of the message of so many samples."""
        return batch * torch.Size(self.shape).numel() * self.dtype.itemsize


class Sender:
    """Sends to another worker, at most `depth` messages ahead of it.

    Args:
        peer: Its rank.
        wire: What crosses.
        group: Of this kind of message; None for all workers' own.
        depth: Messages under way at once.
        stopwatch: Where waiting, exchanging and sent bytes are counted.
    """

    def __init__(
        self, peer: int, wire: Wire, *, group: dist.ProcessGroup | None, depth: int, stopwatch: Stopwatch
    ) -> None:
        self._peer = peer
        self._wire = wire
        self._group = group
        self._depth = depth
        self._stopwatch = stopwatch
        self._flying: deque[tuple[dist.Work, Tensor]] = deque()

    def put(self, tensor: Tensor) -> None:
        while self._flying and (len(self._flying) >= self._depth or self._flying[0][0].is_completed()):
            self._land()
        if self._wire.via_host:
            synchronize(tensor.device)  # else the copy would wait for the computing, and count it
        with self._stopwatch.exchanging():
            message = self._wire.pack(tensor)
            work = dist.isend(message, self._peer, group=self._group)
        assert work is not None
        self._flying.append((work, message))
        self._stopwatch.count_sent(message.numel() * message.element_size())

    def flush(self) -> None:
        """Wait until everything has been taken."""
        while self._flying:
            self._land()

    def _land(self) -> None:
        work, _ = self._flying.popleft()
        with self._stopwatch.waiting():
            work.wait()


class Receiver:
    """Receives from another worker, with up to `depth` receives posted ahead.

    Args:
        peer: Its rank.
        wire: What crosses.
        group: Of this kind of message; None for all workers' own.
        depth: Receives posted at once.
        device: Where tensors are wanted.
        stopwatch: Where waiting and exchanging are counted.
    """

    def __init__(
        self,
        peer: int,
        wire: Wire,
        *,
        group: dist.ProcessGroup | None,
        depth: int,
        device: torch.device,
        stopwatch: Stopwatch,
    ) -> None:
        self._peer = peer
        self._wire = wire
        self._group = group
        self._depth = depth
        self._device = device
        self._stopwatch = stopwatch
        self._expected = 0
        self._batch = 0
        self._posted: deque[tuple[dist.Work, Tensor]] = deque()

    def expect(self, messages: int, batch: int) -> None:
        """So many messages follow, each of a batch of so many samples."""
        assert self._expected == len(self._posted) == 0, "messages still expected"
        self._expected, self._batch = messages, batch
        self._post()

    def get(self) -> Tensor:
        work, buffer = self._posted.popleft()
        with self._stopwatch.exchanging():
            self._post()
        with self._stopwatch.waiting():
            work.wait()
        with self._stopwatch.exchanging():
            return self._wire.unpack(buffer, self._device)

    def _post(self) -> None:
        while self._expected and len(self._posted) < self._depth:
            buffer = self._wire.buffer(self._batch, self._device)
            work = dist.irecv(buffer, self._peer, group=self._group)
            assert work is not None
            self._posted.append((work, buffer))
            self._expected -= 1
