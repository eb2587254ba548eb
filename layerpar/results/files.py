"""Reading the files of a run directory, whole or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

NUMBERS = (
    "num_parameters",
    "num_blocks",
    "train_seconds",
    "samples_per_second",
    "test_accuracy",
    "best_test_accuracy",
    "test_loss",
    "validation_accuracy",
    "best_validation_accuracy",
    "target_accuracy",
    "time_to_target_seconds",
    "steps",
    "samples_per_update",
    "gradient_evaluations",
    "num_updates",
    "start_seconds",
    "paused_seconds",
)
"""The numbers of `summary.json` that a run without an end has not."""

NEEDED = ("num_parameters", "train_seconds", "test_accuracy", "steps")
RANK_NUMBERS = ("rank", "busy_seconds", "wait_seconds", "sent_bytes", "peak_memory_bytes")


class UnreadableError(Exception):
    """A run directory that is corrupt or half-written: one line that names the file."""


def read_text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError as error:
        raise UnreadableError(f"{path.name} is missing") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableError(f"{path.name} cannot be read ({error})") from error


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise UnreadableError(f"{path.name} is not whole JSON") from error
    if not isinstance(content, dict):
        raise UnreadableError(f"{path.name} is not a JSON object")
    return content


def check_summary(summary: dict[str, Any], name: str, *, finished: bool) -> dict[str, Any]:
    """The content of `summary.json`, once it is what a run writes.

    Raises:
        UnreadableError: a value is missing or of the wrong kind.
    """
    ranks = summary.get("ranks") or []
    values = [(key, summary.get(key)) for key in NUMBERS]
    for rank in ranks if isinstance(ranks, list) else [ranks]:
        if not isinstance(rank, dict):
            raise UnreadableError(f"{name}: ranks is not a list of objects")
        values += [(f"ranks.{key}", rank.get(key, "missing")) for key in RANK_NUMBERS]
    for key, value in values:
        if value is not None and not _is_number(value):
            raise UnreadableError(f"{name}: {key} is {value!r}, not a number")
    missing = [key for key in NEEDED if finished and summary.get(key) is None]
    if missing:
        raise UnreadableError(f"{name} has no {', '.join(missing)} though the run is done")
    settings = summary.get("settings")
    if settings is None:
        raise UnreadableError(f"{name} is of version 0.1, which did not write down what tables need")
    if not isinstance(settings, dict) or any(isinstance(value, list | dict) for value in settings.values()):
        raise UnreadableError(f"{name}: settings is not an object of plain values")
    if finished and (summary["train_seconds"] <= 0 or len(ranks) != summary.get("workers")):
        raise UnreadableError(
            f"{name} holds {summary['train_seconds']} train seconds of {len(ranks)} workers"
        )
    return summary


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
