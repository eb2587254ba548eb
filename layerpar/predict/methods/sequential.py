"""`sequential`: one worker, one block after another, on what the finished ones make of the images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from layerpar.config import RunConfig
from layerpar.engine import cuts as choices
from layerpar.modes.sequential import Sequential
from layerpar.objectives import heads
from layerpar.partition import costs
from layerpar.partition import cuts as partition
from layerpar.partition.layer_times import BuildHead
from layerpar.predict import cut
from layerpar.predict.layers import Layers
from layerpar.predict.links import Link
from layerpar.predict.memory import Memory
from layerpar.predict.methods.base import Method, Prediction, method


@dataclass(frozen=True)
class SequentialMethod:
    """Features are taken to be kept where `cache` says so and images do not vary, whatever the memory.

    Attributes:
        mode: Its options.
        samples: Of a batch.
        workers: Of the rivals, for the number of blocks.
        kept: Whether what finished blocks make of the images is kept.
        build_head: Of a block.
    """

    mode: Sequential
    samples: int
    workers: int
    kept: bool
    build_head: BuildHead

    def predict(self, layers: Layers, link: Link, steps: int) -> Prediction:
        seconds = layers.whole(self.samples, 1)
        cost = costs.local(seconds)
        num_blocks = choices.num_blocks(
            self.mode.blocks, self.mode.partition, workers=self.workers, num_layers=len(layers)
        )
        chosen = cut.chosen(self.mode.partition, cost, len(layers), num_blocks)
        parts = partition.blocks(chosen, len(layers))
        shares = self.mode.shares or [1.0] * len(parts)
        below = [0.0 if self.kept else sum(seconds.forward[: part.start]) for part in parts]
        loads = [cost(part.start, part.stop) + prefix for part, prefix in zip(parts, below, strict=True)]
        mean = sum(share * load for share, load in zip(shares, loads, strict=True)) / sum(shares)
        return Prediction(mean, 0.0, 0.0, self._memory(layers, parts), chosen, trains_all=len(parts) == 1)

    def _memory(self, layers: Layers, parts: list[range]) -> Memory:
        trained = max(layers.block_bytes(part.start, part.stop) for part in parts)
        return Memory(
            weights=layers.block_bytes(0, len(layers))
            + sum(layers.head_parameters[part.stop - 1] for part in parts[:-1]),
            gradients=trained,
            optimizer=layers.optimizer_state * trained,
            activations=self.samples * max(sum(layers.saved[part.start : part.stop]) for part in parts),
        )


@method.register
def _(mode: Sequential, config: RunConfig, num_classes: int) -> Method:
    return SequentialMethod(
        mode,
        config.batch_size,
        config.workers,
        mode.cache and not config.dataset.is_random,
        partial(heads.build, mode.head, num_classes=num_classes),
    )
