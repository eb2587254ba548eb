"""Batch norm where a batch comes in micro-batches: how far its statistics reach back."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


class BatchRenorm(_BatchNorm):
    """Batch norm by the statistics of about a batch, not of the micro-batch at hand.

    Normalises by a moving mean and variance, in which each of the M micro-batches of a batch weighs 1/M: the
    present one, and those before it as they were. Gradients are those of batch norm over the micro-batch, on
    whose output the moving statistics are a scale and a shift (batch renormalisation, Ioffe 2017, arXiv
    1702.03275, with a short memory and without its limits). Batch norm itself where batches come whole.

    Evaluates, as batch norm does, by running statistics, which have a longer memory.

    Takes (samples, channels) or (samples, channels, height, width).

    Args:
        channels: Of its input.
    """

    running_mean: Tensor
    running_var: Tensor
    recent_mean: Tensor
    recent_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.microbatches = 1
        self.register_buffer("recent_mean", torch.zeros(channels))
        self.register_buffer("recent_var", torch.ones(channels))

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            return super().forward(inputs)
        mean, var = self._count(inputs)
        recent = (self.recent_var + self.eps).rsqrt()
        scale = (var + self.eps).sqrt() * recent
        shift = (mean - self.recent_mean) * recent
        weight, bias = self.weight * scale, self.bias + self.weight * shift
        return F.batch_norm(inputs, None, None, weight, bias, training=True, eps=self.eps)

    @torch.no_grad()
    def _count(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Take the micro-batch into the moving statistics; returns its own mean and variance."""
        dims = [0, *range(2, inputs.dim())]
        var, mean = torch.var_mean(inputs.float(), dims, correction=0)
        count = inputs.numel() / inputs.shape[1]
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var * count / (count - 1), self.momentum)
        self.num_batches_tracked += 1
        part = (1 / self.num_batches_tracked.float()).clamp(min=1 / self.microbatches)
        before = self.recent_mean.clone()
        self.recent_mean.lerp_(mean, part)
        self.recent_var.lerp_(var + (mean - self.recent_mean) * (mean - before), part)
        return mean, var

    def _check_input_dim(self, input: Tensor) -> None:
        pass  # of any number of dimensions


def in_microbatches(network: nn.Module, microbatches: int) -> None:
    """Let the statistics of batch norms reach back as many samples as if batches came whole.

    A batch norm of momentum m keeps 1 - m of what it knew in every forward. With M micro-batches a batch
    makes M forwards, each of momentum 1 - (1 - m)^(1/M): together they keep 1 - m, as the whole batch did.

    Args:
        network: Freshly made; its batch norms are changed. Other norms have no statistics.
        microbatches: M, equal parts of each batch.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.momentum is not None and microbatches > 1:
            module.momentum = 1 - (1 - module.momentum) ** (1 / microbatches)
        if isinstance(module, BatchRenorm):
            module.microbatches = microbatches
