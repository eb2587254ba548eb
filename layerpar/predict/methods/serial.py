"""`serial`: all layers, one after the other."""

from __future__ import annotations

from dataclasses import dataclass

from layerpar.config import RunConfig
from layerpar.modes.pipeline import stage_cost
from layerpar.modes.serial import Serial
from layerpar.predict.layers import Layers
from layerpar.predict.links import Link
from layerpar.predict.memory import training
from layerpar.predict.methods.base import Method, Prediction, method, no_head


@dataclass(frozen=True)
class SerialMethod:
    """Attributes: as the run has them."""

    samples: int
    microbatches: int
    build_head = staticmethod(no_head)

    def predict(self, layers: Layers, link: Link, steps: int) -> Prediction:
        cost = stage_cost(layers.whole(self.samples, self.microbatches))
        memory = training(
            layers.block_bytes(0, len(layers)),
            layers.optimizer_state,
            activations=self.samples * sum(layers.saved),
        )
        return Prediction(cost(0, len(layers)), 0.0, 0.0, memory, [])


@method.register
def _(mode: Serial, config: RunConfig, num_classes: int) -> Method:
    return SerialMethod(config.batch_size // mode.microbatches, mode.microbatches)
