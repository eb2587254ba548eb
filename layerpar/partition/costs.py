"""What a step of one block costs, from the times of its layers: the objective's true cost of a cut.

F is forward, Bx backward to the input, Bw backward to the weights and U the update of a layer; H is the
auxiliary head, C a copy of the weights. With `overlap` a `local` block pays for the layers that it trains
copies of, too, and its head comes after them. A block owns layers `first` to `last - 1` of L:

    layer          0 … first-1       first          first+1 … last-1     last … L-1
    local          .                 F .  Bw U      F Bx Bw U  (+H)      .
    local weights  F                 F .  Bw U      F Bx Bw U  (+H)      .
    delayed        .                 F Bx Bw U C    F Bx Bw U C          .              (layer 0: no Bx)
    frozen         F                 F .  Bw U      F Bx Bw U            F Bx
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Protocol

from layerpar.partition.cuts import BlockCost


class LayerSeconds(Protocol):
    """Seconds of one step over the whole batch, one number per layer."""

    @property
    def forward(self) -> Sequence[float]:
        """F."""

    @property
    def backward_input(self) -> Sequence[float]:
        """Bx, of the first layer too."""

    @property
    def backward_weights(self) -> Sequence[float]:
        """Bw."""

    @property
    def update(self) -> Sequence[float]:
        """U, the optimizer's step."""

    @property
    def head(self) -> Sequence[float]:
        """H, everything that the auxiliary head of a block that ends with this layer costs. The last
        layer's is not read: the last block's head is the network's own classifier."""

    @property
    def copy(self) -> Sequence[float]:
        """C, a copy of the weights."""


def prefix(seconds: LayerSeconds, *, exchange: str) -> Callable[[int], float]:
    """The part of a block's cost that goes into the layers below its first one; none where activations come.

    Args:
        seconds: Times of the layers.
        exchange: `activations` or `weights`.
    """
    forward = _Range(seconds.forward)
    return lambda first: forward(0, first) if exchange == "weights" else 0.0


def local(seconds: LayerSeconds, *, overlap: int = 0) -> BlockCost:
    """`local` with activations streamed in: own layers and head. No block has a gradient to its input.

    Args:
        seconds: Times of the layers.
        overlap: A block trains copies of so many following layers too, with its head after them.
    """
    trained = _trained(seconds)
    num_layers = len(seconds.forward)

    def cost(first: int, last: int) -> float:
        end = min(last + overlap, num_layers)
        return trained(first, end) + _head(seconds, end, num_layers)

    return cost


def local_weights(seconds: LayerSeconds, *, overlap: int = 0) -> BlockCost:
    """`local` with weights exchanged once a round: the prefix below is recomputed in every step."""
    own = local(seconds, overlap=overlap)
    forward = _Range(seconds.forward)
    return lambda first, last: forward(0, first) + own(first, last)


def delayed(seconds: LayerSeconds, *, recompute: bool, stash: bool) -> BlockCost:
    """`delayed`: own layers, with the gradient to the input for the block before.

    Args:
        seconds: Times of the layers.
        recompute: Every block but the last, whose gradients have no delay, runs its forward again.
        stash: Every block but the last copies its weights in every step.
    """
    trained = _trained(seconds)
    forward, copy = _Range(seconds.forward), _Range(seconds.copy)
    num_layers = len(seconds.forward)

    def cost(first: int, last: int) -> float:
        to_previous = seconds.backward_input[first] if first > 0 else 0.0
        late = 0.0
        if last < num_layers:
            late = recompute * forward(first, last) + stash * copy(first, last)
        return trained(first, last) + to_previous + late

    return cost


def frozen(seconds: LayerSeconds) -> BlockCost:
    """`frozen`: the whole network forward, back through everything above, own weights only."""
    trained = _trained(seconds)
    forward, backward_input = _Range(seconds.forward), _Range(seconds.backward_input)
    num_layers = len(seconds.forward)

    def cost(first: int, last: int) -> float:
        above = forward(last, num_layers) + backward_input(last, num_layers)
        return forward(0, first) + trained(first, last) + above

    return cost


def _trained(seconds: LayerSeconds) -> BlockCost:
    """Own layers, without the gradient to the block's input."""
    own = _Range(
        [sum(layer) for layer in zip(seconds.forward, seconds.backward_weights, seconds.update, strict=True)]
    )
    backward_input = _Range(seconds.backward_input)
    return lambda first, last: own(first, last) + backward_input(first + 1, last)


def _head(seconds: LayerSeconds, last: int, num_layers: int) -> float:
    return seconds.head[last - 1] if last < num_layers else 0.0


class _Range:
    """Sums over ranges of layers in constant time."""

    def __init__(self, values: Sequence[float]) -> None:
        self._below = list(accumulate(values, initial=0.0))

    def __call__(self, first: int, last: int) -> float:
        return self._below[last] - self._below[first]
