"""1F1B as `torch.distributed.pipelining`'s tutorial writes it; prints the seconds of the slowest rank."""

import os
import sys
from time import perf_counter

import torch
import torch.distributed as dist
from bare import BATCH, SHAPE, STEPS, WARMUP, data, network, optimizer, prepared
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

MICROBATCHES = 4
CUT = {"mlp": 13, "cnn": 10}
"""Where the second stage starts; main.py gives layerpar the same cut, in layers."""


class Wired(torch.nn.Module):
    """Sends images as (batch, height, width, channel): gloo takes contiguous tensors only."""

    def __init__(self, stage: torch.nn.Module) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, wire: torch.Tensor) -> torch.Tensor:
        images = wire.permute(0, 3, 1, 2) if rank == 1 else wire
        outputs = self.stage(images)
        return outputs.permute(0, 2, 3, 1) if rank == 0 else outputs


work = sys.argv[1]
torch.set_num_threads(1)
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
whole = prepared(network(work), work)
stages = [whole[: CUT[work]], whole[CUT[work] :]]
if work == "cnn":
    stages = [Wired(stage) for stage in stages]
samples = BATCH[work] // MICROBATCHES
images = torch.empty(samples, *SHAPE[work])
wire = torch.empty(samples, 16, 16, 32) if work == "cnn" else torch.empty(samples, 1024)
logits = torch.empty(samples, 10)
examples = [(images, wire), (wire.requires_grad_(), logits)][rank]
device = torch.device("cpu")
stage = PipelineStage(stages[rank], rank, 2, device, input_args=examples[0], output_args=examples[1])
schedule = Schedule1F1B(stage, MICROBATCHES, loss_fn=torch.nn.functional.cross_entropy)
updates = optimizer(stages[rank])
batch = BATCH[work]
images, labels = data(work, STEPS[work] * batch)


def step(chosen: torch.Tensor) -> None:
    if rank == 0:
        schedule.step(images[chosen].float().div_(255 * 0.2).sub_(2.5))
    else:
        schedule.step(target=labels[chosen], losses=[])
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
