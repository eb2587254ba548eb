"""The engine of `sequential`: one block at a time learns, on what the finished ones make of the images.

steps      0 … 39      40 … 79      80 … 119
block 0    trained     frozen       frozen
block 1    .           trained      frozen
block 2    .           .            trained, with the network's own classifier
"""

from __future__ import annotations

from bisect import bisect_right
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from layerpar.datasets.base import Batch
from layerpar.engine.contract import Assignment, StepResult, Workload
from layerpar.objectives.block import ACTIVATION, Block
from layerpar.optimizers import OptimizerState
from layerpar.sequential.features import Features
from layerpar.transport.links import Wire


class SequentialEngine:
    """Trains a network's blocks one after the other on one worker (Belilovsky et al. 2019, arXiv 1812.11446).

    Until the last block has its turn, the loss that is reported is that of the head of the block in turn, and
    evaluation shows the network as it is: finished blocks under untrained ones. Finished blocks run in
    evaluation mode: their BatchNorm uses, and keeps, the statistics of their own training.

    Args:
        workload: What to train.
        blocks: The blocks, each with a head of its own but the last.
        steps: Steps of each block's turn.
        wires: How the input of every block but the first is laid out.
        kept: Which of these inputs are kept for all samples.
        decisions: What was decided before training.
    """

    owner = True
    reads_images = True

    def __init__(
        self,
        workload: Workload,
        blocks: list[Block],
        *,
        steps: list[int],
        wires: list[Wire],
        kept: list[bool],
        decisions: dict[str, Any],
    ) -> None:
        self.shard = slice(0, workload.config.batch_size)
        self.assignment = Assignment(f"0-{len(blocks) - 1}", f"0-{len(workload.network.layers) - 1}")
        self.decisions = decisions
        self._workload = workload
        self._plain = workload.network.plain
        self._blocks = blocks
        self._ends = list(accumulate(steps))
        self._wires = wires
        self._kept = kept
        self._features: dict[int, Features] = {}
        self._step = 0

    def start(self, steps: int) -> None:
        self._take_turn()

    def step(self, batch: Batch) -> StepResult:
        turn = self._turn
        block, span = self._blocks[turn], partial(self._workload.stopwatch.span, block=turn)
        inputs = self._input(turn, batch)
        with span("forward"):
            block.forward({ACTIVATION: inputs}, batch.labels)
        with span("backward"):
            block.backward({})
        with span("update"):
            loss = block.update()
        self._step += 1
        if self._turn != turn:
            self._take_turn()
        return StepResult(loss, {} if loss is None else {f"block/{turn}/loss": loss})

    def finish(self) -> None:
        pass

    def predict(self, batch: Batch) -> Tensor | None:
        assert batch.images is not None
        self._plain.eval()
        with torch.no_grad(), self._workload.autocast():
            return self._plain(batch.images)

    def full_state(self) -> dict[str, Tensor] | None:
        return {name: tensor.cpu().clone() for name, tensor in self._plain.state_dict().items()}

    def optimizer_state(self) -> OptimizerState | None:
        return {}

    def set_optimizer_state(self, moments: OptimizerState) -> None:
        pass  # a block's turn may come long after

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self._step,
            "blocks": {str(block.index): block.state_dict() for block in self._blocks},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._step = state["step"]
        for block in self._blocks:
            block.load_state_dict(state["blocks"][str(block.index)])
        self._features.clear()

    @property
    def _turn(self) -> int:
        """The block that learns now; after the last step, still the last one."""
        return min(bisect_right(self._ends, self._step), len(self._blocks) - 1)

    def _take_turn(self) -> None:
        turn = self._turn
        for index, block in enumerate(self._blocks):
            block.train(index == turn)
        for index in [index for index in self._features if index < turn - 1]:
            del self._features[index]

    def _input(self, index: int, batch: Batch) -> Tensor:
        """What block `index` takes: kept from an earlier epoch, or made by the block before."""
        if index == 0:
            assert batch.images is not None
            return batch.images
        if index in self._features and self._features[index].hold(batch.indices):
            return self._features[index].take(batch.indices)
        inputs = self._input(index - 1, batch)
        span = self._workload.stopwatch.span("forward", block=index - 1)
        with span, torch.no_grad(), self._workload.autocast():
            activation = self._blocks[index - 1].layers(inputs)
        if self._kept[index - 1] and index == self._turn:
            if index not in self._features:
                self._features[index] = Features(
                    self._wires[index - 1], self._workload.info.num_train, self._workload.device
                )
            self._features[index].put(batch.indices, activation)
        return activation
