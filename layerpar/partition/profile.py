"""What the layers of a network take: seconds of one step, by layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Profile:
    """Seconds of one step, per layer.

    Attributes:
        forward: Forward.
        backward_input: Backward to the layer's input.
        backward_weights: Backward to the layer's weights, and adding up the gradients of micro-batches.
        update: Optimizer step.
        copy: A copy of the weights.
        head: Everything for the head that a block ending here would need; 0 for the last layer.
        accumulate: Adding gradients to those of earlier micro-batches.
        split: What a backward takes longer in two parts, to the input and to the weights; 0 if not measured.
        selecting: Seconds to select, vary and normalise the samples, whatever the layers.
    """

    forward: list[float]
    backward_input: list[float]
    backward_weights: list[float]
    update: list[float]
    copy: list[float]
    head: list[float]
    accumulate: list[float]
    split: list[float]
    selecting: float = 0.0

    @property
    def computing(self) -> float:
        """Seconds of all forwards and backwards."""
        return sum(map(sum, (self.forward, self.backward_input, self.backward_weights)))

    def of_microbatch(self, microbatches: int) -> Profile:
        """Of a step of one of so many micro-batches, which adds its gradients to none."""
        parts = {
            name: [value / microbatches for value in getattr(self, name)]
            for name in ("forward", "backward_input", "head", "split")
        }
        to_weights = [
            max(0.0, seconds - (microbatches - 1) * added) / microbatches
            for seconds, added in zip(self.backward_weights, self.accumulate, strict=True)
        ]
        return replace(self, **parts, backward_weights=to_weights, selecting=self.selecting / microbatches)

    def with_selecting(self) -> Profile:
        """The same where selecting is part of the first layer's forward, whoever computes it."""
        first, *others = self.forward
        return replace(self, forward=[first + self.selecting, *others], selecting=0.0)

    def rounded(self) -> dict[str, Any]:
        """To four digits: small enough for a line of records."""

        def short(value: float) -> float:
            return float(f"{value:.4g}")

        return {
            name: list(map(short, value)) if isinstance(value, list) else short(value)
            for name, value in asdict(self).items()
        }
