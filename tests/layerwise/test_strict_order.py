"""What blocks send each other arrives on a backend that, as nccl, knows no tags and keeps strict order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
import torch.distributed as dist
from strict_order import strict_order
from tiny import build, on_workers, take_steps, tiny
from torch import Tensor

from layerpar.config import RunConfig
from layerpar.measure.stopwatch import Stopwatch
from layerpar.rendezvous.ranks import Ranks
from layerpar.transport.links import Receiver, Sender, Wire, connect

CPU = torch.device("cpu")
BLOCKS = ("mode=layerwise", "mode.partition=[1,3]", "architecture.norm=batch")
SEGMENTS, STEPS = 2, 3


def streams(microbatches: int) -> Iterator[list[str]]:
    """Every objective that streams, and an aggregation whose workers meet and send probes."""
    count = f"objective.microbatches={microbatches}"
    yield ["objective=local", count]
    for link_delay in range(5):
        yield ["objective=delayed", f"objective.link_delay={link_delay}", count]
    meeting = ["aggregation=trust_region", "aggregation.every=1", "architecture.norm=layer"]
    yield ["objective=delayed", "objective.link_delay=4", count, *meeting]


def in_segments(ranks: Ranks, configs: list[RunConfig], strict: bool) -> list[dict[str, Tensor] | None]:
    """The weights after some segments, with a prediction after each."""
    states = []
    with strict_order() if strict else nullcontext():
        for config in configs:
            engine, loader = build(config, ranks)
            (test,) = loader.test()
            for _ in range(SEGMENTS):
                take_steps(engine, loader, STEPS)
                logits = engine.predict(test)
                assert (logits is not None) == engine.owner
            states.append(engine.full_state())
    return states


@pytest.mark.parametrize("microbatches", [1, 2])
@pytest.mark.parametrize("workers", [2, 3])
def test_every_stream_ends_with_the_weights_of_one_worker(workers: int, microbatches: int) -> None:
    one, several = (
        [tiny(*BLOCKS, *stream, f"workers={count}") for stream in streams(microbatches)]
        for count in (1, workers)
    )
    [expected] = on_workers(in_segments, 1, one, False)
    found = on_workers(in_segments, workers, several, True)[-1]
    for stream, state, reference in zip(streams(microbatches), found, expected, strict=True):
        assert all(torch.equal(state[name], reference[name]) for name in reference), stream


def exchanged(ranks: Ranks, shared: bool, strict: bool, connected: bool = True) -> bool:
    """Whether activations get up from rank 0 to rank 1 and gradients back: in one group, or in two."""
    watch, peer, messages, depth = Stopwatch(CPU), 1 - ranks.rank, 4, 2
    wire = Wire(shape=(3,), dtype=torch.float32, channels_last=False, via_host=False)
    activations = dist.new_group()
    gradients = activations if shared else dist.new_group()
    into, out = (gradients, activations) if ranks.rank == 0 else (activations, gradients)
    with strict_order(patience_seconds=3) if strict else nullcontext():
        receiver = Receiver(peer, wire, group=into, depth=depth, device=CPU, stopwatch=watch)
        sender = Sender(peer, wire, group=out, depth=depth, stopwatch=watch)
        try:
            for begins, group in enumerate((activations, gradients) if connected else ()):
                ends = (None, peer) if ranks.rank == begins else (peer, None)
                connect(*ends, device=CPU, group=group)
            receiver.expect(messages, 2)
            for number in range(messages):
                if ranks.rank == 0:
                    sender.put(torch.full((2, 3), float(number)))
                assert receiver.get().eq(number).all()
                if ranks.rank == 1:
                    sender.put(torch.full((2, 3), float(number)))
            sender.flush()
        except TimeoutError:
            return False
    return True


@pytest.mark.parametrize(("shared", "strict"), [(True, False), (False, True)])
def test_messages_arrive(shared: bool, strict: bool) -> None:
    assert on_workers(exchanged, 2, shared, strict) == [True, True]


def test_in_one_group_receives_that_are_posted_ahead_block_the_sends_after_them() -> None:
    """Why each kind of message has a group of its own."""
    assert on_workers(exchanged, 2, True, True) == [False, False]


def test_receives_that_are_posted_ahead_block_workers_that_have_not_connected() -> None:
    """Why links connect before anything is expected."""
    assert on_workers(exchanged, 2, False, True, False) == [False, False]
