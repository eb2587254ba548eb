"""What crosses a border arrives as it was sent, in order, in the layout that convolutions like."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from tiny import on_workers

from layerpar.measure.stopwatch import Stopwatch
from layerpar.rendezvous.ranks import Ranks
from layerpar.transport.links import Queue, Receiver, Sender, Wire

CPU = torch.device("cpu")


def wire(*shape: int, channels_last: bool = False) -> Wire:
    return Wire(shape=shape, dtype=torch.float32, channels_last=channels_last, via_host=False)


def test_a_queue_keeps_order() -> None:
    queue = Queue()
    first, second = torch.zeros(1), torch.ones(1)
    queue.put(first)
    queue.put(second)
    assert queue.get() is first
    assert queue.get() is second


@pytest.mark.parametrize("shape", [(5,), (7, 5), (3, 4, 6)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_packing_and_unpacking_is_the_identity(shape: tuple[int, ...], channels_last: bool) -> None:
    link = wire(*shape, channels_last=channels_last)
    tensor = torch.rand(2, *shape)
    message = link.pack(tensor)
    assert message.is_contiguous()
    assert message.shape == link.buffer(2, CPU).shape
    assert torch.equal(link.unpack(message, CPU), tensor)


def test_a_channels_last_activation_is_sent_without_a_copy_and_arrives_channels_last() -> None:
    link = wire(3, 4, 6, channels_last=True)
    tensor = torch.rand(2, 3, 4, 6).contiguous(memory_format=torch.channels_last)
    message = link.pack(tensor)
    assert message.data_ptr() == tensor.data_ptr()
    assert message.shape == (2, 4, 6, 3)
    assert link.unpack(message, CPU).is_contiguous(memory_format=torch.channels_last)


def ping_pong(ranks: Ranks, messages: int, depth: int) -> tuple[list[float], int, float]:
    """Each rank sends to the other, in two groups; what arrives, bytes sent, seconds waited."""
    watch = Stopwatch(CPU)
    peer = 1 - ranks.rank
    groups = [dist.new_group(), dist.new_group()]
    senders = [Sender(peer, wire(4), group=group, depth=depth, stopwatch=watch) for group in groups]
    receivers = [
        Receiver(peer, wire(4), group=group, depth=depth, device=CPU, stopwatch=watch) for group in groups
    ]
    watch.start()
    seen = []
    for receiver in receivers:
        receiver.expect(messages, 2)
    for number in range(messages):
        for kind, sender in enumerate(senders):
            sender.put(torch.full((2, 4), float(10 * number + kind)))
        seen += [float(receiver.get().mean()) for receiver in receivers]
    for sender in senders:
        sender.flush()
    watch.stop()
    return seen, watch.sent_bytes, watch.wait_seconds


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_messages_keep_order_and_links_keep_apart(depth: int) -> None:
    messages = 5
    for seen, sent_bytes, waited in on_workers(ping_pong, 2, messages, depth):
        assert seen == [float(10 * number + kind) for number in range(messages) for kind in (0, 1)]
        assert sent_bytes == messages * 2 * (2 * 4 * 4)
        assert waited > 0
