"""One block: consecutive layers that are trained as a problem of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from typing import Any

from torch import Tensor, nn

from layerpar.layerwise.links import Sink, Source
from layerpar.optimizers import OptimizerConfig


class LocalBlock:
    """Minimises the cross-entropy of its own head; takes activations in, hands detached ones on.

    Args:
        index: Which block of the network, from 0.
        layers: Its layers, in order.
        head: Its auxiliary head; None for the last block, whose layers end in the network's classifier.
        optimizer: Makes this block's own optimizer.
        total_steps: Steps of the whole run, for the schedule.
        autocast: The precision in which forwards run.
        source: Gives the block's input.
        sink: Takes the block's output; None on the last block.
    """

    def __init__(
        self,
        index: int,
        layers: Sequence[nn.Module],
        *,
        head: nn.Module | None,
        optimizer: OptimizerConfig,
        total_steps: int,
        autocast: Callable[[], AbstractContextManager[Any]],
        source: Source,
        sink: Sink | None,
    ) -> None:
        self.index = index
        self.layers = nn.Sequential(*layers)
        self.head = head
        self._modules = nn.ModuleList([self.layers] if head is None else [self.layers, head])
        self._updater = optimizer.updater(self._modules.parameters(), total_steps)
        self._autocast = autocast
        self._source = source
        self._sink = sink

    def step(self, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Train on one batch.

        Returns:
            The block's loss and the scalars to log.
        """
        with self._autocast():
            outputs = self.layers(self._source.get())
        if self._sink is not None:
            self._sink.put(outputs.detach())
        with self._autocast():
            logits = outputs if self.head is None else self.head(outputs)
            loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()
        self._updater.step()
        accuracy = (logits.detach().argmax(1) == labels).float().mean()
        scalars = {f"block/{self.index}/loss": loss.detach(), f"block/{self.index}/accuracy": accuracy}
        return loss.detach(), scalars

    def train(self, training: bool) -> None:
        """Switch between training and evaluation mode."""
        self._modules.train(training)

    def state_dict(self) -> dict[str, Any]:
        """Weights, head and optimizer: a copy that later steps leave alone."""
        return {"modules": deepcopy(self._modules.state_dict()), "updater": self._updater.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._modules.load_state_dict(state["modules"])
        self._updater.load_state_dict(state["updater"])
