"""Accuracy and loss of the common weights, outside the clock."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from layerpar.config import RunConfig
from layerpar.datasets.base import Batch, Loader
from layerpar.engine.contract import Engine
from layerpar.engine.gather import from_owner
from layerpar.errors import DivergedError
from layerpar.loop import Progress
from layerpar.seeds import undisturbed


def score(
    engine: Engine, loader: Loader, config: RunConfig, progress: Progress, *, device: torch.device
) -> dict[str, float]:
    """Score the validation split and, once the run is over, the test set; without a split that each time.

    Collective. Notes the scores in `progress`.

    Returns:
        Accuracies and losses by the names they are recorded under.

    Raises:
        DivergedError: on every rank, where a loss is not finite.
    """
    has_split = config.dataset.validation > 0
    chosen = {"validation": loader.validation} if has_split else {}
    if not has_split or progress.epoch == config.epochs:
        chosen["test"] = loader.test
    scores: dict[str, float] = {}
    found = []
    for name, batches in chosen.items():
        accuracy, loss = evaluate(engine, batches(), device=device)
        if not math.isfinite(loss):
            raise DivergedError(progress.step, loss)
        found.append((accuracy, loss))
        scores |= {f"{name}_accuracy": accuracy, f"{name}_loss": loss}
    progress.evaluations.append((progress.train_seconds, *found[0]))
    if "test" in chosen:
        progress.test_scores = found[-1]
    return scores


def evaluate(engine: Engine, batches: Iterable[Batch], *, device: torch.device) -> tuple[float, float]:
    """Accuracy and mean cross-entropy over `batches`, on every rank. Collective.

    Draws nothing from torch's global generators that training would miss.
    """
    correct, loss, count = 0, 0.0, 0
    with undisturbed(device):
        for batch in batches:
            logits = engine.predict(batch)
            if logits is None:
                continue
            logits = logits.float()
            correct += int((logits.argmax(1) == batch.labels).sum())
            loss += float(nn.functional.cross_entropy(logits, batch.labels, reduction="sum"))
            count += len(batch.labels)
    scores = (correct / count, loss / count) if engine.owner else None
    return from_owner(scores, owner=engine.owner)
