"""Layerwise programs in time: what they tend to, and that they end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from equal_layers import FREE
from hypothesis import given, settings
from hypothesis import strategies as st

from layerpar.layerwise.schedule import Stream
from layerpar.predict.links import Link
from layerpar.predict.methods.base import steps_to_simulate, stretched
from layerpar.predict.simulate import DeadlockError, WorkerTimes, simulate
from layerpar.predict.streams import BlockSeconds, Crossing, stream_tasks

WIRE = Link("wire", 0.01, 1000.0)


def run(
    stream: Stream,
    placement: list[range],
    seconds: list[BlockSeconds],
    *,
    steps: int,
    link: Link = FREE,
    queue_depth: int = 2,
    num_bytes: float = 100.0,
) -> list[WorkerTimes]:
    after = [Crossing(True, num_bytes)]
    if stream.link_delay is not None:
        after.append(Crossing(False, num_bytes))
    crossings = [after] * (len(placement) - 1)
    programs, channels = stream_tasks(
        stream, placement, seconds, crossings, steps=steps, queue_depth=queue_depth
    )
    return simulate(programs, channels, link)


def each(count: int) -> list[range]:
    return [range(block, block + 1) for block in range(count)]


@given(blocks=st.integers(1, 6), steps=st.integers(1, 40), microbatches=st.integers(1, 3))
def test_local_blocks_of_equal_loads_fill_once_and_then_all_work(
    blocks: int, steps: int, microbatches: int
) -> None:
    stream = Stream(blocks, microbatches, None)
    times = run(stream, each(blocks), [BlockSeconds(1.0, 2.0, 0.5)] * blocks, steps=steps)
    load = microbatches * 3.0 + 0.5
    assert max(own.end for own in times) == pytest.approx((blocks - 1) * 1.0 + steps * load)


def test_local_tends_to_as_many_times_serial_as_there_are_blocks() -> None:
    times = run(Stream(8, 1, None), each(8), [BlockSeconds(1.0, 2.0, 0.5)] * 8, steps=2000)
    serial = 2000 * 8 * 3.5
    assert serial / max(own.end for own in times) == pytest.approx(8, rel=2e-3)


@pytest.mark.parametrize("link_delay", [1, 2])
def test_delayed_tends_to_as_many_times_serial_as_there_are_blocks(link_delay: int) -> None:
    times = run(Stream(4, 1, link_delay), each(4), [BlockSeconds(1.0, 2.0, 0.5)] * 4, steps=1000)
    assert 1000 * 4 * 3.5 / max(own.end for own in times) == pytest.approx(4, rel=2e-2)


def test_without_delay_blocks_take_turns() -> None:
    times = run(Stream(3, 1, 0), each(3), [BlockSeconds(1.0, 2.0, 0.0)] * 3, steps=10)
    assert max(own.end for own in times) == 10 * 3 * 3.0


def test_one_worker_with_all_blocks_does_their_sum() -> None:
    (own,) = run(Stream(3, 2, 1), [range(3)], [BlockSeconds(1.0, 2.0, 0.5)] * 3, steps=5)
    assert own.end == own.busy == 5 * 3 * (2 * 3.0 + 0.5)
    assert len(own.steps) == 5


@st.composite
def chains(draw: st.DrawFn) -> tuple[Stream, list[range], list[BlockSeconds]]:
    num_blocks = draw(st.integers(1, 6))
    microbatches = draw(st.integers(1, 3))
    link_delay = draw(st.one_of(st.none(), st.integers(0, 5)))
    cuts = sorted(draw(st.sets(st.integers(1, num_blocks - 1)))) if num_blocks > 1 else []
    placement = [range(a, b) for a, b in zip([0, *cuts], [*cuts, num_blocks], strict=True)]
    durations = st.floats(0.001, 1.0)
    seconds = [BlockSeconds(draw(durations), draw(durations), draw(durations)) for _ in range(num_blocks)]
    return Stream(num_blocks, microbatches, link_delay), placement, seconds


@settings(deadline=None)
@given(chain=chains(), deeper=st.integers(0, 2), bandwidth=st.floats(10.0, 1e6), steps=st.integers(1, 6))
def test_what_the_mode_lets_through_runs_to_its_end(
    chain: tuple[Stream, list[range], list[BlockSeconds]], deeper: int, bandwidth: float, steps: int
) -> None:
    stream, placement, seconds = chain
    link = replace(WIRE, bandwidth=bandwidth)
    depth = stream.least_queue_depth + deeper
    times = run(stream, placement, seconds, steps=steps, link=link, queue_depth=depth)
    for own, blocks in zip(times, placement, strict=True):
        load = sum(
            stream.microbatches * (seconds[block].forward + seconds[block].backward) + seconds[block].update
            for block in blocks
        )
        assert own.busy == pytest.approx(steps * load)
        assert own.busy + own.waiting == pytest.approx(own.end)
        assert len(own.steps) == steps


@pytest.mark.parametrize("link_delay", range(1, 9))
@pytest.mark.parametrize("queue_depth", range(1, 6))
def test_without_buffers_workers_block_each_other_just_where_the_mode_refuses(
    link_delay: int, queue_depth: int
) -> None:
    stream = Stream(4, 1, link_delay)
    programs, posted = stream_tasks(
        stream,
        each(4),
        [BlockSeconds(1.0, 1.0, 1.0)] * 4,
        [[Crossing(True, 1.0), Crossing(False, 1.0)]] * 3,
        steps=30,
        queue_depth=queue_depth,
    )
    unbuffered = [channel._replace(ahead=0) for channel in posted]
    if queue_depth >= stream.least_queue_depth:
        simulate(programs, unbuffered, FREE)
    else:
        with pytest.raises(DeadlockError):
            simulate(programs, unbuffered, FREE)


@settings(deadline=None)
@given(chain=chains(), slow=st.floats(10.0, 1e5), factor=st.floats(1.0, 100.0))
def test_more_bandwidth_never_takes_longer_where_no_wire_is_shared(
    chain: tuple[Stream, list[range], list[BlockSeconds]], slow: float, factor: float
) -> None:
    stream, placement, seconds = chain
    after = [Crossing(True, 100.0), *([] if stream.link_delay is None else [Crossing(False, 100.0)])]
    programs, shared = stream_tasks(
        stream,
        placement,
        seconds,
        [after] * (len(placement) - 1),
        steps=4,
        queue_depth=stream.least_queue_depth,
    )
    channels = [channel._replace(wire=number) for number, channel in enumerate(shared)]
    ends = [
        max(own.end for own in simulate(programs, channels, replace(WIRE, bandwidth=bandwidth)))
        for bandwidth in (slow, slow * factor)
    ]
    assert ends[1] <= ends[0] * (1 + 1e-12)


@pytest.mark.parametrize("link_delay", [None, 1, 2])
@pytest.mark.parametrize("microbatches", [1, 4])
@pytest.mark.parametrize("bandwidth", [40.0, 1e3, 1e5])
def test_a_long_segment_goes_on_at_the_pace_of_its_beginning(
    link_delay: int | None, microbatches: int, bandwidth: float
) -> None:
    stream, link = Stream(6, microbatches, link_delay), replace(WIRE, bandwidth=bandwidth)
    seconds = [BlockSeconds(0.1 + 0.02 * (block % 3), 0.2, 0.03) for block in range(6)]
    simulated = steps_to_simulate(400, microbatches=microbatches, workers=6)
    assert simulated < 100
    short = run(stream, each(6), seconds, steps=simulated, link=link)
    whole = run(stream, each(6), seconds, steps=400, link=link)
    expected = max(own.end for own in whole)
    assert stretched(short, simulated, 400) == pytest.approx(expected, rel=0.02)
