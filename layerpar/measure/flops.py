"""Floating-point operations of matrix products and convolutions, which are nearly all that training does."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class FlopCounter(TorchDispatchMode):
    """Adds up, by torch's own formulas, what is computed within.

    torch's `FlopCounterMode` also tells modules apart, by hooks that `torch.autograd.grad` cannot do with.

    Attributes:
        flops: So far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result


@contextmanager
def counting(*, recurrent: bool) -> Iterator[FlopCounter]:
    """Counts what this thread computes within, forwards and backwards; slow, so never on the clock.

    Kernels that do several operations in one, of which torch's formulas know nothing, are replaced by the
    operations they stand for.

    Args:
        recurrent: Those of recurrent layers too, which makes convolutions slow.
    """
    with ExitStack() as stack:
        if recurrent:
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", "TF32 acceleration")  # of every such switch
            stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield stack.enter_context(FlopCounter())


def flops_of_gradient(network: nn.Module, input_shape: Sequence[int]) -> float:
    """Forward and backward of one sample: what a gradient of the whole network costs.

    Args:
        network: On the meta device, where nothing is computed.
        input_shape: Of a sample.
    """
    with counting(recurrent=False) as counter:
        network(torch.empty(2, *input_shape, device="meta")).sum().backward()
    return counter.flops / 2
