"""The running statistics of batch norm, where a batch comes in micro-batches."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def in_microbatches(network: nn.Module, microbatches: int) -> None:
    """Let running statistics reach back as many samples as if batches came whole.

    A batch norm of momentum m keeps 1 - m of what it knew in every forward. With M micro-batches a batch
    makes M forwards, each of momentum 1 - (1 - m)^(1/M): together they keep 1 - m, as the whole batch did.

    Args:
        network: Freshly made; its batch norms are changed. Other norms have no running statistics.
        microbatches: M, equal parts of each batch.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.momentum is not None and microbatches > 1:
            module.momentum = 1 - (1 - module.momentum) ** (1 / microbatches)
