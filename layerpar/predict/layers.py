"""What a prediction knows of a network's layers: seconds at several sizes of a micro-batch, and bytes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

from torch import Tensor

from layerpar.partition.profile import Profile

PER_SAMPLE = ("forward", "backward_input", "backward_weights", "head", "split")
PER_LAYER = tuple(field.name for field in fields(Profile) if field.name != "selecting")
CONTRADICTION = 1.5
"""A sample among more others may take this many times as long, by caches; beyond it, something else ran."""


@dataclass(frozen=True)
class Layers:
    """The layers of a network, one entry per layer everywhere.

    Attributes:
        times: Seconds of one pass and one update, by the samples of the pass.
        outputs: What each layer puts out for two blank samples, on any device.
        parameters: Bytes of each of its parameters, in the order of registration.
        saved: Bytes per sample that its forward keeps for its backward.
        head_parameters: Bytes of the parameters of the head that a block ending there would need.
        optimizer_state: Bytes that the optimizer remembers per byte of parameters.
    """

    times: dict[int, Profile]
    outputs: list[Tensor]
    parameters: list[list[int]]
    saved: list[float]
    head_parameters: list[int]
    optimizer_state: float

    def __len__(self) -> int:
        return len(self.outputs)

    def microbatch(self, samples: int, microbatches: int = 1) -> Profile:
        """Seconds of a pass over so many samples, one of so many of a step, without update and copy.

        Selecting the samples is part of the first layer's forward.
        Between two measured sizes the times lie on a straight line; outside they are in proportion. All
        passes but the first add their gradients to those before; each has its share of that.
        """
        chosen, once = self._between(samples).with_selecting(), self.step()
        zeros, share = [0.0] * len(self), 1 - 1 / microbatches
        to_weights = [
            own + share * added for own, added in zip(chosen.backward_weights, once.accumulate, strict=True)
        ]
        return replace(chosen, backward_weights=to_weights, update=zeros, copy=zeros, accumulate=zeros)

    def step(self) -> Profile:
        """Seconds of what depends on the weights alone, whatever the samples: update, copy, accumulation."""
        largest = self.times[max(self.times)]
        zeros = [0.0] * len(self)
        nothing: Any = dict.fromkeys(PER_SAMPLE, zeros)
        return replace(largest, **nothing, selecting=0.0)

    def whole(self, samples: int, microbatches: int) -> Profile:
        """Seconds of a step of so many micro-batches of so many samples: what a partition cuts by."""
        one, once = self.microbatch(samples, microbatches), self.step()
        times: Any = {name: [microbatches * value for value in getattr(one, name)] for name in PER_SAMPLE}
        return replace(once, **times)

    def slowed(self, factor: float) -> Layers:
        """The same where all computing takes so many times as long."""

        def longer(profile: Profile) -> Profile:
            lists = {name: [factor * value for value in getattr(profile, name)] for name in PER_LAYER}
            return Profile(**lists, selecting=factor * profile.selecting)

        return replace(self, times={samples: longer(profile) for samples, profile in self.times.items()})

    def contradiction(self) -> str | None:
        """Why these times cannot be right: a sample takes much longer among many than among few."""
        each = {samples: times.computing / samples for samples, times in sorted(self.times.items())}
        for few, many in pairwise(each):
            if each[many] > CONTRADICTION * each[few]:
                times = f"{each[many] / each[few]:.1f} times as long among {many} as among {few}"
                return (
                    f"layer times contradict each other: a sample takes {times}; the machine was busy, "
                    "predict again when it is quiet"
                )
        return None

    def block_bytes(self, first: int, last: int) -> int:
        """Of the parameters of layers `first` to `last - 1`, and of the head after them."""
        own = sum(sum(layer) for layer in self.parameters[first:last])
        return own + (self.head_parameters[last - 1] if last < len(self) else 0)

    def output_bytes(self, layer: int) -> float:
        """Per sample, of what a layer puts out."""
        output = self.outputs[layer]
        return output[0].numel() * output.element_size()

    def take(self, indices: Sequence[int]) -> Layers:
        """The network of copies of these layers; the last one's head is not looked at."""

        def taken(values: list[float]) -> list[float]:
            return [values[index] for index in indices]

        times = {}
        for samples, profile in self.times.items():
            lists: Any = {name: taken(getattr(profile, name)) for name in PER_LAYER}
            times[samples] = replace(profile, **lists)
        return Layers(
            times,
            [self.outputs[index] for index in indices],
            [self.parameters[index] for index in indices],
            taken(self.saved),
            [self.head_parameters[index] for index in indices],
            self.optimizer_state,
        )

    def _between(self, samples: int) -> Profile:
        sizes = sorted(self.times)
        place = bisect_left(sizes, samples)
        if place == len(sizes) or samples < sizes[0]:
            nearest = sizes[min(place, len(sizes) - 1)]
            return _mixed(self.times[nearest], self.times[nearest], samples / nearest, 0.0)
        upper = sizes[place]
        if upper == samples:
            return self.times[upper]
        lower = sizes[place - 1]
        share = (samples - lower) / (upper - lower)
        return _mixed(self.times[lower], self.times[upper], 1 - share, share)


def _mixed(one: Profile, other: Profile, share: float, rest: float) -> Profile:
    mixed = {
        name: [
            share * first + rest * second
            for first, second in zip(getattr(one, name), getattr(other, name), strict=True)
        ]
        for name in PER_LAYER
    }
    return Profile(**mixed, selecting=share * one.selecting + rest * other.selecting)
