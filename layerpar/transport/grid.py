"""Which worker stands where: R replicas of the network side by side, each a chain of workers.

mode.replicas=2 workers=6     position 0    position 1    position 2
replica 0                     rank 0    →   rank 1    →   rank 2        a chain: the whole network,
replica 1                     rank 3    →   rank 4    →   rank 5        on its own slice of each batch
                              └ the same blocks in each column: replicas
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.distributed as dist

from layerpar.measure.stopwatch import Stopwatch
from layerpar.rendezvous.ranks import Ranks
from layerpar.transport.replica_group import ReplicaGroup


@dataclass(frozen=True)
class Grid:
    """One worker's place: rank = replica · chain_length + position.

    Attributes:
        rank: Of this worker among all.
        chain_length: Workers that together hold one replica.
        replicas: The workers of the other chains at this position.
        chain_group: The process group of this chain; None for all workers, where there is one chain only.
    """

    rank: int
    chain_length: int
    replicas: ReplicaGroup
    chain_group: dist.ProcessGroup | None = None

    @property
    def replica(self) -> int:
        """Which chain, from 0."""
        return self.rank // self.chain_length

    @property
    def position(self) -> int:
        """Where in the chain; the worker at 0 holds the network's input."""
        return self.rank % self.chain_length

    @property
    def previous(self) -> int | None:
        """The rank that holds the layers before this one's, None on the first of a chain."""
        return self.rank - 1 if self.position > 0 else None

    @property
    def next(self) -> int | None:
        """The rank that holds the layers after this one's, None on the last of a chain."""
        return self.rank + 1 if self.position + 1 < self.chain_length else None

    @property
    def owner(self) -> int:
        """The rank that answers for the whole network: the last of the first chain."""
        return self.chain_length - 1

    def rank_at(self, position: int) -> int:
        """The rank at a position of this chain."""
        return self.replica * self.chain_length + position


def arrange(ranks: Ranks, stopwatch: Stopwatch, num_replicas: int) -> Grid:
    """This worker's place in so many chains; makes their process groups if there are several. Collective."""
    rank, world_size = ranks.rank, ranks.world_size
    length = world_size // num_replicas
    if num_replicas == 1:
        return Grid(rank, length, ReplicaGroup(1, stopwatch))
    chain_group, _ = dist.new_subgroups_by_enumeration(chain_ranks(world_size, num_replicas), ranks.timeout)
    peer_group, _ = dist.new_subgroups_by_enumeration(peer_ranks(world_size, num_replicas), ranks.timeout)
    assert isinstance(chain_group, dist.ProcessGroup)
    assert isinstance(peer_group, dist.ProcessGroup)
    replicas = ReplicaGroup(num_replicas, stopwatch, group=peer_group)
    return Grid(rank, length, replicas, chain_group)


def chain_ranks(world_size: int, num_replicas: int) -> list[list[int]]:
    """The rows of the grid: the ranks of each chain, in order.

    >>> chain_ranks(6, 2)
    [[0, 1, 2], [3, 4, 5]]
    """
    length = world_size // num_replicas
    return [list(range(first, first + length)) for first in range(0, world_size, length)]


def peer_ranks(world_size: int, num_replicas: int) -> list[list[int]]:
    """The columns of the grid: the ranks that hold the same blocks.

    >>> peer_ranks(6, 2)
    [[0, 3], [1, 4], [2, 5]]
    """
    return [list(ranks) for ranks in zip(*chain_ranks(world_size, num_replicas), strict=True)]
