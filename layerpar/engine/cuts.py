"""Where a mode cuts the network: decided on rank 0, by measured time where asked for, the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from layerpar.engine.contract import Workload
from layerpar.errors import require, require_choice
from layerpar.partition import costs
from layerpar.partition import cuts as partition
from layerpar.partition.costs import LayerSeconds
from layerpar.partition.cuts import BlockCost
from layerpar.partition.layer_times import BuildHead, Measuring, measure
from layerpar.rendezvous import liveness


@dataclass(frozen=True)
class Cuts:
    """Consecutive parts of a network.

    Attributes:
        parts: The layers of each part.
        loads: Predicted seconds per step of each part, had it a worker of its own.
        prefixes: How much of that a worker of several parts spends once; see `worker_load`.
        layer_times: What the layers took: `samples` of a micro-batch, and the fields of a `Profile` for one.
    """

    parts: list[range]
    loads: list[float]
    prefixes: list[float]
    layer_times: dict[str, Any]

    def decisions(self, placement: list[list[int]]) -> dict[str, Any]:
        """What the records tell: the cuts (to pin with mode.partition), loads of parts and workers, and the
        times of the layers, from which `layerpar predict --from` predicts."""
        return {
            "cuts": [part.start for part in self.parts[1:]],
            "part_loads": self.loads,
            "part_prefixes": self.prefixes,
            "predicted_loads": [partition.worker_load(self.loads, self.prefixes, mine) for mine in placement],
            "layer_times": self.layer_times,
        }


def check_blocks(blocks: Any) -> None:
    """Refuse a `mode.blocks` that is neither `workers`, `layers` nor a number."""
    require(
        blocks in ("workers", "layers") or (isinstance(blocks, int) and blocks >= 1),
        f"mode.blocks={blocks} is neither workers, layers nor a positive number; try mode.blocks=workers",
    )


def num_blocks(blocks: Any, choice: Any, *, workers: int, num_layers: int) -> int:
    """K, as `mode.blocks` says; for `workers`, as many as explicit cuts make, where there are some."""
    if isinstance(choice, list) and blocks == "workers":
        return len(choice) + 1
    return {"workers": workers, "layers": num_layers}.get(blocks, blocks)


def cannot_move(blocks: Any, choice: Any) -> str | None:
    """Why a run whose network is cut so cannot go on with another number of workers; None if it can."""
    by_workers = blocks == "workers" and not isinstance(choice, list)
    return "mode.blocks=workers makes as many blocks as workers" if by_workers else None


def check_choice(choice: Any) -> None:
    """Refuse a `mode.partition` that is neither a way to cut nor a list of cuts."""
    if not isinstance(choice, list):
        require_choice("mode.partition", choice, ("balanced", "equal"))


def decide(
    workload: Workload,
    choice: Any,
    num_parts: int,
    *,
    cost: Callable[[LayerSeconds], BlockCost],
    microbatches: int,
    build_head: BuildHead = lambda shape: None,
    exchange: str = "activations",
) -> Cuts:
    """Cut as `choice` says, or as an earlier part of this phase did. Collective.

    Args:
        workload: What to train.
        choice: `balanced`, `equal` or the cuts themselves.
        num_parts: How many parts.
        cost: What a part costs, from the times of the layers.
        microbatches: Equal parts in which a part of the network takes a batch.
        build_head: The auxiliary head of a part but the last.
        exchange: `activations`, or `weights` where a part computes what lies below it itself.
    """
    num_layers, earlier = len(workload.network.layers), workload.recorded_decisions
    if earlier is not None:
        parts = partition.blocks(earlier["cuts"], num_layers)
        return Cuts(parts, earlier["part_loads"], earlier["part_prefixes"], earlier.get("layer_times", {}))
    holder: list[Cuts | None] = [None]
    if workload.ranks.rank == 0:
        samples = workload.replica_batch_size
        measuring = _measuring(workload, build_head)
        profile = measure(workload.network.layers, measuring, samples=samples, microbatches=microbatches)
        times = profile.with_selecting()
        seconds, prefix = cost(times), costs.prefix(times, exchange=exchange)
        cuts = partition.chosen(choice, seconds, num_layers, num_parts)
        loads = partition.predicted_loads(seconds, cuts, num_layers)
        parts = partition.blocks(cuts, num_layers)
        recorded = {"samples": samples // microbatches, **profile.of_microbatch(microbatches).rounded()}
        holder = [Cuts(parts, loads, [prefix(part.start) for part in parts], recorded)]
    if workload.ranks.world_size > 1:
        liveness.meet()
        dist.broadcast_object_list(holder, src=0)
    assert holder[0] is not None
    return holder[0]


def _measuring(workload: Workload, build_head: BuildHead) -> Measuring:
    layout = torch.channels_last if workload.config.architecture.channels_last else torch.contiguous_format

    def inputs(samples: int) -> Tensor:
        images = torch.rand(samples, *workload.info.input_shape, device=workload.device)
        return images.to(memory_format=layout)

    config = workload.config
    batches = partial(
        config.dataset.blank_batches, device=workload.device, channels_last=config.architecture.channels_last
    )
    return Measuring(inputs, config.optimizer.build, build_head, workload.autocast, batches=batches)
