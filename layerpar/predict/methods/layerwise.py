"""`layerwise`: blocks on a chain of workers that stream activations, or exchange weights once a round."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from torch import nn

from layerpar.config import RunConfig
from layerpar.engine import cuts as choices
from layerpar.layerwise.schedule import Stream
from layerpar.modes.layerwise import Layerwise
from layerpar.objectives.base import Objective
from layerpar.objectives.delayed import Delayed
from layerpar.objectives.frozen import Frozen
from layerpar.partition import costs
from layerpar.partition import cuts as partition
from layerpar.predict import cut
from layerpar.predict.layers import Layers
from layerpar.predict.links import Link
from layerpar.predict.memory import Memory, training
from layerpar.predict.methods.base import (
    Method,
    Prediction,
    method,
    steps_to_simulate,
    stretched,
    waiting,
)
from layerpar.predict.simulate import simulate
from layerpar.predict.streams import BlockSeconds, Crossing, stream_tasks


@dataclass(frozen=True)
class Division:
    """Who trains what.

    Attributes:
        blocks: The layers of each block.
        placement: The blocks of each worker of a chain.
        loads: Seconds of each worker per step.
    """

    blocks: list[range]
    placement: list[range]
    loads: list[float]

    @property
    def cuts(self) -> list[int]:
        """The first layer of each block but the first."""
        return [block.start for block in self.blocks[1:]]

    def layers(self, worker: int) -> range:
        """Those that a worker trains."""
        mine = self.placement[worker]
        return range(self.blocks[mine[0]].start, self.blocks[mine[-1]].stop)


class LayerwiseMethod:
    """Of an aggregation rule only the means over replicas and the exchange of weights are counted, not what
    the rule itself computes or asks of the other workers.

    Args:
        mode: Its options.
        config: The run.
        num_classes: Labels of the data set.
    """

    def __init__(self, mode: Layerwise, config: RunConfig, num_classes: int) -> None:
        self._mode = mode
        self._objective: Objective = config.objective
        self._aggregation = config.aggregation
        self._exchange = mode.exchange_of(config.objective)
        self._num_classes = num_classes
        self._chain_length = config.workers // mode.replicas
        self._microbatches = config.objective.microbatches
        self.samples = config.batch_size // mode.replicas // self._microbatches

    def build_head(self, shape: tuple[int, ...]) -> nn.Module | None:
        return self._objective.build_head(shape, self._num_classes)

    def predict(self, layers: Layers, link: Link, steps: int) -> Prediction:
        division = self._divide(layers)
        if self._exchange == "weights":
            return self._by_weights(layers, link, steps, division)
        return self._streamed(layers, link, steps, division)

    def _divide(self, layers: Layers) -> Division:
        times = layers.whole(self.samples, self._microbatches)
        cost = self._objective.cost(times, exchange=self._exchange)
        prefix = costs.prefix(times, exchange=self._exchange)
        choice, num_layers = self._mode.partition, len(layers)
        num_blocks = choices.num_blocks(
            self._mode.blocks, choice, workers=self._chain_length, num_layers=num_layers
        )
        chosen = cut.chosen(choice, cost, num_layers, num_blocks)
        loads = partition.predicted_loads(cost, chosen, num_layers)
        blocks = partition.blocks(chosen, num_layers)
        prefixes = [prefix(block.start) for block in blocks]
        placement = cut.assign(loads, prefixes, self._chain_length)
        return Division(
            blocks, placement, [partition.worker_load(loads, prefixes, mine) for mine in placement]
        )

    def _streamed(self, layers: Layers, link: Link, steps: int, division: Division) -> Prediction:
        stream = Stream(len(division.blocks), self._microbatches, self._objective.delay_per_link)
        crossings = [
            self._crossings(layers, division.layers(worker)[-1]) for worker in range(self._chain_length - 1)
        ]
        simulated = steps_to_simulate(steps, microbatches=self._microbatches, workers=self._chain_length)
        programs, channels = stream_tasks(
            stream,
            division.placement,
            self._block_seconds(layers, link, division),
            crossings,
            steps=simulated,
            queue_depth=self._mode.queue_depth,
        )
        times = simulate(programs, channels, link)
        segment = stretched(times, simulated, steps)
        seconds = (segment + self._between_replicas(layers, link, division, steps)) / steps
        sent = self._microbatches * sum(crossing.num_bytes for after in crossings for crossing in after)
        sent = sent * self._mode.replicas + self._replica_bytes(layers, division, steps)
        memory = max(
            (self._stream_memory(layers, division, stream, worker) for worker in range(self._chain_length)),
            key=lambda held: held.total,
        )
        return Prediction(seconds, waiting(times, simulated, seconds), sent, memory, division.cuts)

    def _crossings(self, layers: Layers, last_layer: int) -> list[Crossing]:
        messages = self._objective.messages(layers.outputs[last_layer], num_classes=self._num_classes)
        return [
            Crossing(message.direction == "down", self.samples * message.dtype.itemsize * prod(message.shape))
            for message in messages
        ]

    def _block_seconds(self, layers: Layers, link: Link, division: Division) -> list[BlockSeconds]:
        exchange = self._exchange
        microbatch = layers.microbatch(self.samples, self._microbatches)
        both = self._objective.cost(microbatch, exchange=exchange)
        update = self._objective.cost(layers.step(), exchange=exchange)
        found = []
        for block in division.blocks:
            forward = sum(microbatch.forward[block.start : block.stop])
            averaged = 0.0
            if self._mode.replicas > 1 and self._aggregation.averages_gradients:
                num_bytes = self._trained_bytes(layers, block)
                averaged = link.all_reduce_seconds(num_bytes, self._mode.replicas)
            found.append(
                BlockSeconds(
                    forward,
                    both(block.start, block.stop) - forward,
                    update(block.start, block.stop),
                    averaged,
                )
            )
        return found

    def _by_weights(self, layers: Layers, link: Link, steps: int, division: Division) -> Prediction:
        loads = division.loads
        own = [division.layers(worker) for worker in range(self._chain_length)]
        # The owners of the weights send theirs to all, one after the other.
        trained = [sum(sum(layers.parameters[layer]) for layer in mine) for mine in own]
        exchange = 0.0
        if self._chain_length > 1:
            exchange = sum(link.broadcast_seconds(num_bytes, self._chain_length) for num_bytes in trained)
        rounds = self._rounds(steps)
        seconds = max(loads) + rounds / steps * exchange
        seconds += self._between_replicas(layers, link, division, steps) / steps
        if self._mode.replicas > 1 and self._aggregation.averages_gradients:
            seconds += max(link.all_reduce_seconds(num_bytes, self._mode.replicas) for num_bytes in trained)
        sent = rounds / steps * sum(trained) * (self._chain_length - 1) * self._mode.replicas
        sent += self._replica_bytes(layers, division, steps)
        memory = max((self._round_memory(layers, mine) for mine in own), key=lambda held: held.total)
        return Prediction(seconds, 1 - sum(loads) / len(loads) / seconds, sent, memory, division.cuts)

    def _rounds(self, steps: int) -> int:
        """In a segment; its end ends one too."""
        return -(-steps // self._aggregation.every)

    def _between_replicas(self, layers: Layers, link: Link, division: Division, steps: int) -> float:
        """Seconds of a segment in which replicas average the weights of their rounds."""
        if self._mode.replicas == 1 or self._aggregation.averages_gradients:
            return 0.0
        own = (division.layers(worker) for worker in range(self._chain_length))
        largest = max(self._trained_bytes(layers, mine) for mine in own)
        return self._rounds(steps) * link.all_reduce_seconds(largest, self._mode.replicas)

    def _replica_bytes(self, layers: Layers, division: Division, steps: int) -> float:
        """Per step, of all workers, to average over replicas."""
        times = 1.0 if self._aggregation.averages_gradients else self._rounds(steps) / steps
        held = sum(self._trained_bytes(layers, block) for block in division.blocks)
        return times * 2 * (self._mode.replicas - 1) * held

    def _trained_bytes(self, layers: Layers, block: range) -> int:
        """Of the parameters that a block trains, its head's and copied ones included."""
        trained = self._objective.trained(block, len(layers))
        return layers.block_bytes(trained.start, trained.stop)

    def _stream_memory(self, layers: Layers, division: Division, stream: Stream, worker: int) -> Memory:
        objective, mine = self._objective, division.placement[worker]
        recompute = isinstance(objective, Delayed) and objective.recompute
        stash = isinstance(objective, Delayed) and objective.stash and not recompute
        weights = kept = copies = 0.0
        for index in mine:
            block, delay = division.blocks[index], stream.delay(index)
            trained = objective.trained(block, len(layers))
            own = self._trained_bytes(layers, block)
            saved = self.samples * sum(layers.saved[trained.start : trained.stop])
            entering = self.samples * layers.output_bytes(block.start - 1) if block.start else 0.0
            weights += own
            kept += saved + delay * entering if recompute else (delay + 1) * saved
            copies += -(-delay // self._microbatches) * own * stash
        return training(weights, layers.optimizer_state, activations=kept, stash=copies)

    def _round_memory(self, layers: Layers, mine: range) -> Memory:
        """Of a worker that holds the whole network, and its own layers a second time, to train them."""
        own = self._trained_bytes(layers, mine)
        last = self._objective.trained(mine, len(layers)).stop
        if isinstance(self._objective, Frozen):
            last = len(layers)
        return Memory(
            weights=layers.block_bytes(0, len(layers)) + own,
            gradients=own,
            optimizer=own * layers.optimizer_state,
            activations=self.samples * sum(layers.saved[mine.start : last]),
        )


@method.register
def _(mode: Layerwise, config: RunConfig, num_classes: int) -> Method:
    return LayerwiseMethod(mode, config, num_classes)
