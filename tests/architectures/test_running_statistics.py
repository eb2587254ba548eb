"""Running statistics know as much of M micro-batches as of the whole batch."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny
from torch import nn

from layerpar.architectures.running_statistics import in_microbatches


@pytest.mark.parametrize("microbatches", [1, 2, 8])
def test_equal_micro_batches_leave_the_mean_that_their_batch_leaves(microbatches: int) -> None:
    """And the variance but for Bessel's correction, which counts samples."""
    part = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))
    whole, cut = nn.BatchNorm1d(5), nn.BatchNorm1d(5)
    in_microbatches(cut, microbatches)
    whole(part.repeat(microbatches, 1))
    for _ in range(microbatches):
        cut(part)
    torch.testing.assert_close(cut.running_mean, whole.running_mean)
    torch.testing.assert_close(cut.running_var, whole.running_var, rtol=0.02, atol=0)


def test_a_cumulative_average_counts_every_sample_anyway() -> None:
    norm = nn.BatchNorm1d(5, momentum=None)
    in_microbatches(norm, 4)
    assert norm.momentum is None


def test_a_network_without_batch_norm_stays_as_it_is() -> None:
    network = tiny("architecture.norm=layer").architecture.create((1, 8, 8), 10, seed=0).plain
    before = repr(network)
    in_microbatches(network, 4)
    assert repr(network) == before
