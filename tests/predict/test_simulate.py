"""The simulator: when tasks start, when messages go, who waits how long."""

from __future__ import annotations

import pytest
from equal_layers import FREE

from layerpar.predict.links import Link
from layerpar.predict.simulate import Channel, DeadlockError, Task, simulate

SLOW = Link("slow", 1.0, 10.0)


def test_a_worker_alone_does_one_task_after_the_other() -> None:
    (own,) = simulate([[Task(1.0), Task(2.0, ends_step=True), Task(3.0, blocked=0.5)]], [], FREE)
    assert (own.busy, own.waiting, own.end, own.steps) == (6.0, 0.5, 6.5, [3.0])


def test_a_message_takes_bytes_over_bandwidth_and_then_latency() -> None:
    sender, receiver = [Task(2.0, sends=(0,))], [Task(5.0, receives=(0,))]
    first, second = simulate([sender, receiver], [Channel(30, wire=0, back=1, depth=None, ahead=1)], SLOW)
    assert (first.end, first.waiting) == (2.0, 0.0)
    assert (second.end, second.waiting) == (2 + 3 + 1 + 5, 6.0)


def test_a_receive_that_is_posted_late_delays_the_message() -> None:
    sender, receiver = [Task(1.0, sends=(0,))], [Task(4.0), Task(0.0, receives=(0,))]
    ends = {}
    for ahead in (0, 1):
        _, second = simulate([sender, receiver], [Channel(20, wire=0, back=1, depth=None, ahead=ahead)], SLOW)
        ends[ahead] = second.end
    assert ends == {0: 4 + 2 + 1, 1: 4.0}


def test_word_of_a_receive_waits_behind_the_messages_that_go_the_same_way() -> None:
    """Each sends 20 bytes and then asks for what the other sends: the answer to who asks last is late."""
    ends = {}
    for back in (1, 9):
        channels = [Channel(20, 0, back, None, 0), Channel(20, 1, 0, None, 1)]
        first = [Task(1.0, sends=(0,)), Task(0.0, receives=(1,))]
        second = [Task(1.0, sends=(1,)), Task(0.0, receives=(0,))]
        ends[back] = simulate([first, second], channels, SLOW)[1].end
    assert ends == {1: 1 + 2 + 2 + 1, 9: 1 + 2 + 1}


def test_messages_on_one_wire_go_one_after_the_other_in_the_order_in_which_they_can() -> None:
    sender = [Task(1.0, sends=(0, 1))]
    receivers = [[Task(0.0, receives=(0,))], [Task(0.0, receives=(1,))]]
    for wires, second_arrives in (((0, 0), 1 + 2 + 2 + 1), ((0, 1), 1 + 2 + 1)):
        channels = [Channel(20, wire=wire, back=9, depth=None, ahead=1) for wire in wires]
        _, first, second = simulate([sender, *receivers], channels, SLOW)
        assert (first.end, second.end) == (1 + 2 + 1, second_arrives)


def test_a_core_copies_messages_while_its_worker_waits_else_before_it_computes() -> None:
    copying = Link("copying", 0.0, 10.0, core_seconds=0.05)
    channels = [Channel(20, 0, 9, None, 9), Channel(20, 1, 9, None, 9)]
    # A second for each message. The first worker never waits; the second waits two for the message to come.
    first, second = simulate(
        [[Task(1.0, sends=(0,)), Task(1.0), Task(5.0)], [Task(0.0, receives=(0,)), Task(1.0)]],
        channels,
        copying,
    )
    assert (first.busy, first.waiting, first.end) == (1 + 1 + 1 + 5, 0, 8)
    assert (second.busy, second.waiting, second.end) == (1, 3, 4)


def test_a_sender_is_ahead_by_the_depth_of_the_queue_and_the_posted_receives() -> None:
    # The receiver takes its first message at 10: till then messages 0 and 1 have arrived, 2 and 3 wait.
    sender = [Task(1.0, sends=(0,))] * 6
    receiver = [Task(10.0), *[Task(0.0, receives=(0,))] * 6]
    first, _ = simulate([sender, receiver], [Channel(0, wire=0, back=1, depth=2, ahead=2)], FREE)
    assert first.waiting == 5.0
    assert first.end == 11.0


def test_workers_that_wait_for_each_other_are_found() -> None:
    programs = [[Task(1.0, receives=(1,), sends=(0,))], [Task(1.0, receives=(0,), sends=(1,))]]
    channels = [Channel(1, wire=wire, back=1 - wire, depth=None, ahead=1) for wire in (0, 1)]
    with pytest.raises(DeadlockError, match=r"\[0, 1\]"):
        simulate(programs, channels, FREE)
