"""Workers that train the same weights agree on their means to the last bit."""

from __future__ import annotations

import pytest
import torch
from tiny import on_workers
from torch import Tensor

from layerpar.measure.stopwatch import Stopwatch
from layerpar.rendezvous.ranks import Ranks
from layerpar.transport.replica_group import ReplicaGroup


def averaged(ranks: Ranks) -> tuple[list[Tensor], list[Tensor], int, float]:
    stopwatch = Stopwatch(torch.device("cpu"))
    stopwatch.start()
    peers = ReplicaGroup(ranks.world_size, stopwatch)
    tensors = [torch.full((2, 3), float(ranks.rank)), torch.tensor(10.0 * ranks.rank)]
    means = peers.means(tensors)
    apart = [tensor.clone() for tensor in tensors]
    peers.average(tensors)
    assert all(torch.equal(one, other) for one, other in zip(means, tensors, strict=True))
    return apart, means, stopwatch.sent_bytes, stopwatch.wait_seconds


@pytest.mark.parametrize("count", [2, 3])
def test_everybody_gets_the_mean(count: int) -> None:
    middle = (count - 1) / 2
    for rank, (tensors, means, sent_bytes, wait_seconds) in enumerate(on_workers(averaged, count)):
        assert torch.equal(tensors[0], torch.full((2, 3), float(rank))), "means leave what they are of alone"
        assert torch.equal(means[0], torch.full((2, 3), middle))
        assert float(means[1]) == 10 * middle
        assert sent_bytes == 2 * (7 * 4 * 2 * (count - 1) // count)
        assert wait_seconds > 0


def test_one_replica_needs_no_process_group() -> None:
    stopwatch = Stopwatch(torch.device("cpu"))
    stopwatch.start()
    tensor = torch.ones(3)
    ReplicaGroup(1, stopwatch).average([tensor])
    assert torch.equal(tensor, torch.ones(3))
    assert stopwatch.sent_bytes == 0
