"""Programs are the pictures that their module draws, are complete, and never block each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerpar.layerwise import schedule
from layerpar.layerwise.schedule import Backward, Forward, Stream, Tick, Update, picture

STREAMS = st.builds(
    Stream, st.integers(1, 6), st.sampled_from([1, 2, 3, 4, 8]), st.one_of(st.none(), st.integers(0, 9))
)
STEPS = st.integers(0, 6)
DELAYS = [None, *range(10)]


def drawn(label: str) -> str:
    """What the docstring of the module has on the line that begins with a label."""
    found = re.search(rf"^{re.escape(label)} +(\S.*)$", schedule.__doc__ or "", re.MULTILINE)
    assert found, label
    return found[1]


def merged(ticks: Iterator[Tick]) -> str:
    return " | ".join(
        " ".join(f"{block}{picture([operation])}" for block, operation in tick) for tick in ticks
    )


@pytest.mark.parametrize("block", [0, 1, 2])
def test_the_program_of_a_block_is_its_picture(block: int) -> None:
    stream = Stream(3, microbatches=2, link_delay=1)
    assert picture(stream.program(block, steps=3)) == drawn(f"block {block}")


def test_the_merged_program_of_two_blocks_is_its_picture() -> None:
    both, steps = range(2), 2
    assert merged(Stream(3, 1, link_delay=1).ticks(both, steps)) == drawn("blocks 0 and 1, M = 1, 2 steps")
    assert merged(Stream(3, 1, link_delay=None).ticks(both, steps)) == drawn("… nothing flows back")


@given(STREAMS, STEPS)
def test_every_micro_batch_goes_once_forward_and_once_backward_through_every_block_in_order(
    stream: Stream, steps: int
) -> None:
    everything = list(range(steps * stream.microbatches))
    for block in range(stream.num_blocks):
        program = stream.program(block, steps)
        assert [operation[0] for operation in program if isinstance(operation, Forward)] == everything
        assert [operation[0] for operation in program if isinstance(operation, Backward)] == everything
        assert [operation[0] for operation in program if isinstance(operation, Update)] == list(range(steps))


@given(STREAMS, STEPS)
def test_a_backward_comes_when_as_many_later_micro_batches_as_its_delay_have_gone_forward(
    stream: Stream, steps: int
) -> None:
    count = steps * stream.microbatches
    for block in range(stream.num_blocks):
        forwards = 0
        for operation in stream.program(block, steps):
            forwards += isinstance(operation, Forward)
            if isinstance(operation, Backward):
                assert forwards == min(count, operation.microbatch + 1 + stream.delay(block))


@given(STREAMS, STEPS)
def test_a_block_updates_after_the_last_backward_of_a_step(stream: Stream, steps: int) -> None:
    for block in range(stream.num_blocks):
        program = stream.program(block, steps)
        for position, operation in enumerate(program):
            if isinstance(operation, Update):
                backwards = [earlier for earlier in program[:position] if isinstance(earlier, Backward)]
                assert len(backwards) == stream.microbatches * (operation.step + 1)
                assert program[position - 1] == backwards[-1]


@given(STREAMS, STEPS, st.data())
def test_placement_does_not_change_the_program_of_a_block(
    stream: Stream, steps: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, stream.num_blocks - 1))
    last = data.draw(st.integers(first + 1, stream.num_blocks))
    ticks = list(stream.ticks(range(first, last), steps))
    count = steps * stream.microbatches
    assert all(ticks), "no tick without work"
    assert [tick[0][1] for tick in ticks[:count]] == [Forward(microbatch) for microbatch in range(count)]
    for block in range(first, last):
        own = [operation for tick in ticks for index, operation in tick if index == block]
        assert own == stream.program(block, steps)


@given(STREAMS)
def test_weights_in_use_are_as_many_versions_as_updates_fit_into_the_delay_and_one(stream: Stream) -> None:
    """A version is in use while it is the latest, or a backward of one of its forwards is due."""
    for block in range(stream.num_blocks):
        delay, microbatches = stream.delay(block), stream.microbatches
        due: list[int] = []
        version = most = 0
        for operation in stream.program(block, steps=2 * delay // microbatches + 2):
            if isinstance(operation, Forward):
                due.append(version)
            elif isinstance(operation, Backward):
                due.pop(0)
            else:
                version += 1
            most = max(most, len({version, *due}))
        assert most == 1 + -(-delay // microbatches)
        assert most <= 2 or delay > microbatches


@dataclass
class Link:
    """One direction between two workers: a send is done when its receive is posted, and not before.

    Attributes:
        depth: Of `Sender` and `Receiver`, which this follows.
        count: Messages of the segment.
        taken: Messages that the receiver has asked for.
        sent: Messages that the sender has handed over.
    """

    depth: int
    count: int
    taken: int = 0
    sent: int = 0

    @property
    def done(self) -> int:
        return min(self.sent, self.count, self.depth + self.taken)

    def get(self) -> Iterator[None]:
        self.taken += 1  # posts one more before it waits
        while self.done < self.taken:
            yield

    def put(self) -> Iterator[None]:
        while self.sent - self.done >= self.depth:
            yield
        self.sent += 1

    def flush(self) -> Iterator[None]:
        while self.done < self.sent:
            yield


@dataclass
class Meeting:
    """Where all workers wait for each other at the end of every step, as some aggregations make them."""

    expected: int
    arrived: dict[int, int] = field(default_factory=dict)

    def attend(self, step: int) -> Iterator[None]:
        self.arrived[step] = self.arrived.get(step, 0) + 1
        while self.arrived[step] < self.expected:
            yield


def work(
    stream: Stream,
    mine: range,
    steps: int,
    links: dict[tuple[str, int], Link],
    meeting: Meeting | None,
) -> Iterator[None]:
    """One worker's segment, as `Executor` and `ChainEngine` carry it out; it yields where it must wait."""
    below, above = mine.start - 1, mine.stop - 1  # the blocks under the two boundaries
    for number, tick in enumerate(stream.ticks(mine, steps), start=1):
        for block, operation in tick:
            if isinstance(operation, Forward):
                if block == mine.start and ("down", below) in links:
                    yield from links["down", below].get()
                if block == mine[-1] and ("down", above) in links:
                    yield from links["down", above].put()
            elif isinstance(operation, Backward):
                if block == mine[-1] and ("up", above) in links:
                    yield from links["up", above].get()
                if block == mine.start and ("up", below) in links:
                    yield from links["up", below].put()
        step, rest = divmod(number, stream.microbatches)
        if meeting is not None and rest == 0 and step < steps:
            yield from meeting.attend(step)
    if meeting is not None:
        yield from meeting.attend(steps)
    for direction, boundary in (("down", above), ("up", below)):
        if (direction, boundary) in links:
            yield from links[direction, boundary].flush()


def runs_to_its_end(stream: Stream, placement: list[range], *, depth: int, meets: bool) -> bool:
    """Whether no worker waits for ever. The order in which they take turns cannot change that."""
    steps = -(-(stream.delay(0) + 4 * depth + 1) // stream.microbatches) + 1
    directions = ("down",) if stream.link_delay is None else ("down", "up")
    count = steps * stream.microbatches
    links = {
        (direction, mine.stop - 1): Link(depth, count) for mine in placement[:-1] for direction in directions
    }
    meeting = Meeting(len(placement)) if meets else None
    workers = [work(stream, mine, steps, links, meeting) for mine in placement]
    before = -1
    while workers:
        workers = [worker for worker in workers if next(worker, "ended") != "ended"]
        happened = sum(link.taken + link.sent for link in links.values())
        happened += 0 if meeting is None else sum(meeting.arrived.values())
        if happened == before:
            break
        before = happened
    return not workers


def placements(num_blocks: int) -> list[list[range]]:
    """Every way to give consecutive blocks to workers, at least one each."""
    return [
        [range(first, last) for first, last in pairwise([0, *cuts, num_blocks])]
        for count in range(num_blocks)
        for cuts in combinations(range(1, num_blocks), count)
    ]


@pytest.mark.parametrize("link_delay", DELAYS, ids=str)
@pytest.mark.parametrize("num_blocks", range(1, 7))
def test_what_the_check_lets_through_runs_to_its_end_and_what_it_refuses_hangs(
    num_blocks: int, link_delay: int | None
) -> None:
    """Sends are unbuffered; workers meet at the end of every step, as `trust_region` makes them."""
    for microbatches in (1, 2, 4):
        stream = Stream(num_blocks, microbatches, link_delay)
        for placement in placements(num_blocks):
            for depth in range(1, 5):
                allowed = len(placement) == 1 or depth >= stream.least_queue_depth
                runs = runs_to_its_end(stream, placement, depth=depth, meets=True)
                assert runs == allowed, (stream, placement, depth)


@pytest.mark.parametrize("link_delay", DELAYS, ids=str)
def test_workers_that_do_not_meet_need_half_of_that_depth(link_delay: int | None) -> None:
    for num_blocks, microbatches, depth in ((2, 1, 1), (3, 2, 1), (4, 1, 1), (4, 4, 2), (6, 2, 2)):
        stream = Stream(num_blocks, microbatches, link_delay)
        for placement in placements(num_blocks)[1:]:
            runs = runs_to_its_end(stream, placement, depth=depth, meets=False)
            assert runs == (4 * depth >= (link_delay or 0)), (stream, placement, depth)
