"""What carries messages, by what all workers compute on."""

from __future__ import annotations

import pytest

from layerpar.rendezvous.ranks import backend

NCCL = "cpu:gloo,cuda:nccl"


@pytest.mark.parametrize(
    ("devices", "carrier"),
    [
        (["cpu"], "gloo"),
        (["cpu", "cpu"], "gloo"),
        (["GPU-1"], NCCL),
        (["GPU-1", "GPU-2"], NCCL),
        (["GPU-1", "GPU-1"], "gloo"),  # nccl refuses two workers on one GPU
        (["GPU-1", "GPU-2", "GPU-2"], "gloo"),
        (["GPU-1", "cpu"], "gloo"),
    ],
)
def test_nccl_carries_messages_where_every_worker_has_a_gpu_of_its_own(
    devices: list[str], carrier: str
) -> None:
    assert backend(devices) == carrier
