"""`data`: the whole network on every worker; gradients travel in buckets while backward goes on.

worker   F F F   B B B B   ······   U           bucket by bucket, from the last layer to the first;
wire               1   2 2   3 3                what backward does not hide is waited for
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from layerpar.config import RunConfig
from layerpar.modes.data import Data
from layerpar.modes.pipeline import stage_cost
from layerpar.predict.layers import Layers
from layerpar.predict.links import Link
from layerpar.predict.memory import training
from layerpar.predict.methods.base import Method, Prediction, method, no_head

MEBIBYTE = 2**20
TORCH_BUCKETS = (MEBIBYTE, 25 * MEBIBYTE)
"""`DistributedDataParallel` closes its first bucket early, so that the exchange begins early; not if it is
told a size."""


def buckets(
    ready: Iterable[tuple[float, int]], capacities: tuple[int, int], seconds_per_byte: float = 0.0
) -> list[tuple[float, int]]:
    """When each bucket is full, and its bytes.

    Args:
        ready: When each gradient is there, and its bytes, in that order, were nothing exchanged meanwhile.
        capacities: Bytes with which the first bucket is full, and every other.
        seconds_per_byte: By which the exchange of a bucket holds up what is computed after it.
    """
    full: list[tuple[float, int]] = []
    limit, held, last, late = capacities[0], 0, 0.0, 0.0
    for last, num_bytes in ready:
        held += num_bytes
        if held >= limit:
            full.append((last + late, held))
            late += seconds_per_byte * held
            limit, held = capacities[1], 0
    return [*full, (last + late, held)] if held else full


def exchanged(full: Iterable[tuple[float, int]], link: Link, workers: int) -> float:
    """When the last of these buckets is reduced: one after the other, each once it is full."""
    end = 0.0
    for ready, num_bytes in full:
        end = max(end, ready) + link.all_reduce_seconds(num_bytes, workers)
    return end


@dataclass(frozen=True)
class DataMethod:
    """Attributes: as the run has them; `bucket_bytes` are those of the first bucket and of every other,
    `every` is the length of a round, None where gradients average."""

    samples: int
    microbatches: int
    workers: int
    bucket_bytes: tuple[int, int]
    every: int | None
    build_head = staticmethod(no_head)

    def predict(self, layers: Layers, link: Link, steps: int) -> Prediction:
        cost = stage_cost(layers.whole(self.samples, self.microbatches))
        computing = cost(0, len(layers))
        num_bytes = layers.block_bytes(0, len(layers))
        if self.workers == 1:
            seconds, rounds = computing, 0.0
        elif self.every is None:
            computing += sum(layers.step().copy)
            seconds, rounds = self._overlapped(layers, link), 1.0
        else:
            rounds = -(-steps // self.every) / steps
            seconds = computing + rounds * link.all_reduce_seconds(num_bytes, self.workers)
        activations = self.samples * sum(layers.saved)
        memory = training(
            num_bytes,
            layers.optimizer_state,
            activations=activations,
            stash=0.0 if self.every is None else num_bytes,
        )
        sent = rounds * 2 * (self.workers - 1) * num_bytes
        return Prediction(seconds, 1 - computing / seconds, sent, memory, [])

    def _overlapped(self, layers: Layers, link: Link) -> float:
        """A step whose last micro-batch copies its gradients into buckets, and sends each once it is full."""
        one, once = layers.microbatch(self.samples, self.microbatches), layers.step()
        now = (self.microbatches - 1) * stage_cost(one)(0, len(layers)) + sum(one.forward)
        ready = []
        for layer in reversed(range(len(layers))):
            now += one.backward_weights[layer] + (one.backward_input[layer] if layer else 0.0)
            now += once.copy[layer]
            ready += [(now, num_bytes) for num_bytes in reversed(layers.parameters[layer])]
        copied = 4 * (self.workers - 1) / self.workers * link.core_seconds  # of bytes sent and received
        full = buckets(ready, self.bucket_bytes, copied)
        return max(full[-1][0], exchanged(full, link, self.workers)) + sum(once.update)


@method.register
def _(mode: Data, config: RunConfig, num_classes: int) -> Method:
    aggregation, told = config.aggregation, mode.bucket_mebibytes
    return DataMethod(
        config.batch_size // config.workers // mode.microbatches,
        mode.microbatches,
        config.workers,
        TORCH_BUCKETS if told is None else (told * MEBIBYTE, told * MEBIBYTE),
        None if aggregation.averages_gradients else aggregation.every,
    )
