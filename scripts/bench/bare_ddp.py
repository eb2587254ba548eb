"""`DistributedDataParallel` as its tutorial writes it; prints the seconds of the slowest rank."""

import os
import sys
from time import perf_counter

import torch
import torch.distributed as dist
from bare import BATCH, STEPS, WARMUP, data, network, optimizer, prepared
from torch.nn.parallel import DistributedDataParallel

work = sys.argv[1]
torch.set_num_threads(1)
dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
model = DistributedDataParallel(prepared(network(work), work), gradient_as_bucket_view=True)
updates = optimizer(model)
batch = BATCH[work]
images, labels = data(work, STEPS[work] * batch)
share = slice(rank * batch // world, (rank + 1) * batch // world)


def step(chosen: torch.Tensor) -> None:
    chosen = chosen[share]
    pixels = images[chosen].float().div_(255 * 0.2).sub_(2.5)
    loss = torch.nn.functional.cross_entropy(model(pixels), labels[chosen])
    loss.backward()
    updates.step()
    updates.zero_grad()


for chosen in torch.randperm(len(labels))[: WARMUP * batch].split(batch):
    step(chosen)
dist.barrier()
before = perf_counter()
for chosen in torch.randperm(len(labels)).split(batch):
    step(chosen)
seconds = torch.tensor(perf_counter() - before)
dist.all_reduce(seconds, dist.ReduceOp.MAX)
if rank == 0:
    print(float(seconds))
dist.destroy_process_group()
sys.stdout.flush()
os._exit(0)  # as our workers: a thread of gloo may abort an interpreter that ends
