"""A backward in two parts, as zero-bubble schedules run it: first to the inputs, later to the weights.

The only place that calls torch's own functions for it, which walk the graph of a stage in Python.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from layerpar.partition.layer_times import timed


def time_split(layer: nn.Module, inputs: Tensor) -> float:
    """Seconds of both parts together, for one layer, whose gradients add up with those before them.

    Args:
        layer: With weights.
        inputs: Of a micro-batch.
    """
    from torch.distributed.pipelining import _backward  # takes two seconds

    leaf = inputs.clone().requires_grad_()
    for _ in range(2):  # the first makes the gradients' memory
        outputs = layer(leaf)
        upstream = torch.rand_like(outputs)
        with timed(inputs.device) as seconds:
            _, groups = _backward.stage_backward_input([outputs], [upstream], [leaf], layer.parameters())
            _backward.stage_backward_weight(layer.parameters(), groups)
    layer.zero_grad(set_to_none=True)
    return seconds[0]
