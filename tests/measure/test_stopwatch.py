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


def test_waiting_is_part_of_a_segment_and_busy_is_the_rest() -> None:
    watch = Stopwatch(torch.device("cpu"))
    watch.start()
    with watch.waiting():
        time.sleep(0.02)
    watch.count_sent(100)
    watch.stop()
    assert 0.02 <= watch.wait_seconds <= watch.seconds
    assert watch.busy_seconds == pytest.approx(watch.seconds - watch.wait_seconds)
    assert watch.sent_bytes == 100


def test_what_happens_between_segments_is_not_counted() -> None:
    watch = Stopwatch(torch.device("cpu"))
    with watch.waiting():
        time.sleep(0.01)
    watch.count_sent(100)
    assert (watch.wait_seconds, watch.sent_bytes) == (0, 0)


def test_waiting_counts_when_the_wait_ends_in_an_error() -> None:
    watch = Stopwatch(torch.device("cpu"))
    watch.start()
    with pytest.raises(ZeroDivisionError):
        wait_in_vain(watch)
    assert watch.wait_seconds >= 0.01
