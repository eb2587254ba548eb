"""Batch norms know as much of M micro-batches as of the whole batch."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny
from torch import Tensor, nn
from torch.nn import functional as F

from layerpar.architectures.batch_norm import BatchRenorm, in_microbatches


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


def inputs(count: int, *shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [2 * torch.randn(8, *shape, generator=generator) + index for index in range(count)]


@pytest.mark.parametrize("shape", [(5,), (5, 3, 3)])
def test_renorm_of_whole_batches_is_batch_norm(shape: tuple[int, ...]) -> None:
    """Outputs, gradients, running statistics and evaluation."""
    norm = nn.BatchNorm1d(5) if len(shape) == 1 else nn.BatchNorm2d(5)
    renorm = BatchRenorm(5)
    for given in inputs(3, *shape):
        results = []
        for module in (norm, renorm):
            own = given.clone().requires_grad_()
            outputs = module(own)
            outputs.pow(3).sum().backward()
            results.append((outputs, own.grad, module.weight.grad, module.bias.grad))
        torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(renorm.running_mean, norm.running_mean)
    torch.testing.assert_close(renorm.running_var, norm.running_var)
    torch.testing.assert_close(renorm.eval()(given), norm.eval()(given))


def test_renorm_normalises_by_micro_batches_that_weigh_less_the_older_they_are() -> None:
    parts, renorm = inputs(5, 6), BatchRenorm(6)
    in_microbatches(renorm, 2)
    outputs = [renorm(part) for part in parts]
    weights = torch.tensor([1, 1, 2, 4, 8]) / 16  # of M = 2, each new one weighs a half
    means = torch.stack([part.mean(0) for part in parts])
    squares = torch.stack([part.square().mean(0) for part in parts])
    mean = weights @ means
    var = weights @ squares - mean.square()
    torch.testing.assert_close(outputs[-1], (parts[-1] - mean) / (var + renorm.eps).sqrt())


def test_the_gradient_of_renorm_is_batch_norm_s_times_the_ratio_of_deviations() -> None:
    """What the present micro-batch has added to the moving statistics counts as constant."""
    (*earlier, given), renorm = inputs(3, 6), BatchRenorm(6)
    in_microbatches(renorm, 4)
    for part in earlier:
        renorm(part)
    (upstream,) = inputs(1, 6)
    own, other = given.clone().requires_grad_(), given.clone().requires_grad_()
    renorm(own).backward(upstream)
    F.batch_norm(other, None, None, training=True).backward(upstream)
    ratio = ((given.var(0, correction=0) + renorm.eps) / (renorm.recent_var + renorm.eps)).sqrt()
    torch.testing.assert_close(own.grad, other.grad * ratio)
