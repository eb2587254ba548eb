"""What becomes of the numbers of a segment."""

from __future__ import annotations

import pytest
import torch

from layerpar import loop
from layerpar.engine.contract import StepResult


def test_a_rule_counts_as_it_was_last_and_losses_as_their_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step accepted, then three rejected: a quarter, not the mean of what the rule said after each."""

    def gather(every: list[object], own: object) -> None:
        every[0] = own

    monkeypatch.setattr(loop.dist, "get_world_size", lambda: 1)
    monkeypatch.setattr(loop.dist, "all_gather_object", gather)
    monkeypatch.setattr(loop.liveness, "meet", lambda: None)
    results = [
        StepResult(
            torch.tensor(float(step)),
            {
                "aggregation/accepted_fraction": torch.tensor(1 / step),
                "block/0/loss": torch.tensor(float(step)),
            },
        )
        for step in (1, 2, 3, 4)
    ]
    means, _ = loop._reduce(results, 1.0)
    assert means == {"train_loss": 2.5, "aggregation/accepted_fraction": 0.25, "block/0/loss": 2.5}
