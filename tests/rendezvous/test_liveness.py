"""A worker that works is waited for, however long; one that is silent is named."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch.distributed as dist

from layerpar.errors import LostPeerError
from layerpar.rendezvous.liveness import Liveness

Start = Callable[..., list[Liveness]]


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Start]:
    """Makes so many workers with a store each on one file, as if they were processes."""
    made: list[Liveness] = []

    def start(count: int, *, timeout_seconds: float) -> list[Liveness]:
        stores = [dist.FileStore(str(tmp_path / "store"), count) for _ in range(count)]
        made.extend(
            Liveness(store, rank, count, timeout_seconds=timeout_seconds) for rank, store in enumerate(stores)
        )
        return made

    yield start
    for one in made:
        one.end()


def come_in(*present: Liveness) -> None:
    for one in present:
        one.join(seconds=0, device="cpu")  # the first do not see the last
    for one in present:
        assert one.join(seconds=1, device="cpu") == []


def test_those_that_do_not_come_are_told(workers: Start) -> None:
    first, _, third = workers(3, timeout_seconds=60)
    third.join(seconds=0, device="cpu")
    assert first.join(seconds=0.2, device="cpu") == [1]


def test_a_working_peer_is_waited_for_beyond_the_timeout(workers: Start) -> None:
    first, second = workers(2, timeout_seconds=0.5)
    come_in(first, second)
    before = time.monotonic()
    with ThreadPoolExecutor() as pool:
        late = pool.submit(lambda: (time.sleep(1.5), second.meet()))
        first.meet()
        late.result()
    assert time.monotonic() - before >= 1.5
    assert first.silent() == ()


def test_a_silent_peer_is_named(workers: Start) -> None:
    first, second, third = workers(3, timeout_seconds=0.5)
    second.join(seconds=0, device="cpu")  # it came, and then gave no sign of life
    third.join(seconds=0, device="cpu")
    assert first.join(seconds=1, device="cpu") == []
    assert third.join(seconds=1, device="cpu") == []
    with pytest.raises(LostPeerError, match="worker 1") as caught:
        first.meet()
    assert caught.value.silent == (1,)
    assert first.silent() == (1,)
