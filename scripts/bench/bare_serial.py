"""Ordinary training, nothing else; prints the seconds of the steps after the warm-up."""

import sys
from time import perf_counter

import torch
from bare import BATCH, STEPS, WARMUP, data, network, optimizer, prepared

work = sys.argv[1]
torch.set_num_threads(1)
model = prepared(network(work), work)
updates = optimizer(model)
batch = BATCH[work]
images, labels = data(work, STEPS[work] * batch)


def step(chosen: torch.Tensor) -> None:
    pixels = images[chosen].float().div_(255 * 0.2).sub_(2.5)
    loss = torch.nn.functional.cross_entropy(model(pixels), labels[chosen])
    loss.backward()
    updates.step()
    updates.zero_grad()


for chosen in torch.randperm(len(labels))[: WARMUP * batch].split(batch):
    step(chosen)
before = perf_counter()
for chosen in torch.randperm(len(labels)).split(batch):
    step(chosen)
print(perf_counter() - before)
