"""What the clock counts and what it leaves out."""

from __future__ import annotations

import time

import pytest
import torch

from layerpar.measure.stopwatch import Stopwatch


def wait_in_vain(watch: Stopwatch) -> None:
    with watch.waiting():
        time.sleep(0.01)
        raise ZeroDivisionError


def test_only_segments_count() -> None:
    watch = Stopwatch(torch.device("cpu"))
    time.sleep(0.02)
    watch.start()
    time.sleep(0.03)
    segment = watch.stop()
    time.sleep(0.02)
    assert 0.03 <= segment < 0.06
    assert watch.seconds == segment == watch.now()


class Event:
    """Stands for an event of a GPU's stream, on which time goes on by what the test says."""

    stream = 0.0

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at = Event.stream

    def elapsed_time(self, other: Event) -> float:
        return 1000 * (other.at - self.at)


def test_on_a_gpu_the_stream_waits_not_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Stopwatch(torch.device("cpu"))
    watch.device = torch.device("cuda", 0)
    monkeypatch.setattr("torch.cuda.Event", Event)
    monkeypatch.setattr("torch.cuda.synchronize", lambda device: None)
    for _ in range(2):
        watch.start()
        with watch.waiting():
            Event.stream += 0.25
        Event.stream += 1
        watch.stop()
    with watch.waiting():
        Event.stream += 1
    assert watch.wait_seconds == 0.5


def test_waiting_and_exchanging_are_parts_of_a_segment_and_busy_is_the_rest() -> None:
    watch = Stopwatch(torch.device("cpu"))
    watch.start()
    with watch.waiting():
        time.sleep(0.02)
    with watch.exchanging():
        time.sleep(0.01)
    watch.count_sent(100)
    watch.stop()
    assert 0.02 <= watch.wait_seconds <= watch.seconds - watch.exchange_seconds
    assert 0.01 <= watch.exchange_seconds < 0.02
    assert watch.busy_seconds == pytest.approx(watch.seconds - watch.wait_seconds - watch.exchange_seconds)
    assert watch.sent_bytes == 100


def test_what_happens_between_segments_is_not_counted() -> None:
    watch = Stopwatch(torch.device("cpu"))
    with watch.waiting(), watch.exchanging():
        time.sleep(0.01)
    watch.count_sent(100)
    assert (watch.wait_seconds, watch.exchange_seconds, watch.sent_bytes) == (0, 0, 0)


def test_waiting_counts_when_the_wait_ends_in_an_error() -> None:
    watch = Stopwatch(torch.device("cpu"))
    watch.start()
    with pytest.raises(ZeroDivisionError):
        wait_in_vain(watch)
    assert watch.wait_seconds >= 0.01


def test_nothing_is_recorded_but_in_traced_steps() -> None:
    watch = Stopwatch(torch.device("cpu"))
    watch.start()
    for number in (1, 2, 3, 4):
        with watch.step(number, traced=number in (2, 3)), watch.span("forward", block=0), watch.waiting():
            pass
    watch.stop()
    assert [(span.kind, span.where) for span in watch.spans] == [
        (kind, {"batch": batch} | where)
        for batch in (2, 3)
        for kind, where in (("wait", {}), ("forward", {"block": 0}), ("step", {}))
    ]


def test_a_span_of_a_late_batch_is_named_after_it() -> None:
    watch = Stopwatch(torch.device("cpu"))
    with watch.step(5, traced=True), watch.span("backward", late=2, block=1):
        time.sleep(0.01)
    backward, step = watch.spans
    assert backward.where == {"batch": 3, "block": 1}
    assert step.start <= backward.start < backward.start + 0.01 <= backward.end <= step.end
