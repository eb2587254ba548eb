"""Why a worker failed, in its own words: written by the worker, read by the parent."""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from dataclasses import asdict, dataclass
from typing import Any

from layerpar.errors import DivergedError, LostPeerError, UserError
from layerpar.measure.status import read_status, write_status
from layerpar.measure.writing import write_json
from layerpar.paths import RunDirectory

FINAL = ("done", "diverged", "failed")

NEEDS_TWO_SAMPLES = "Expected more than 1 value per channel when training"

KNOWN_CAUSES = {
    NEEDS_TWO_SAMPLES: "BatchNorm cannot normalise a single sample; try a larger batch_size "
    "(or fewer mode.microbatches or mode.replicas)",
    "CUDA out of memory": "the GPU's memory is not enough; try a smaller batch_size or architecture.width",
    "can't allocate memory": "the memory is not enough; try a smaller batch_size or architecture.width",
}
"""What torch says of a mistake in the settings, and the override that repairs it."""


@dataclass(frozen=True)
class Failure:
    """What a worker says of its end.

    Attributes:
        message: One line.
        lost_peer: It only failed because another worker did not answer, or was gone.
        timed_out: It waited for `launcher.timeout_seconds` before that.
        silent: Workers that showed no sign of life during that time.
        host: Where the worker ran, in a run across hosts.
    """

    message: str
    lost_peer: bool = False
    timed_out: bool = False
    silent: tuple[int, ...] = ()
    host: str | None = None


def explain(error: BaseException, *, silent: tuple[int, ...] = ()) -> Failure:
    """An exception as one line; of a chain, the one that it all began with.

    Args:
        error: What was raised.
        silent: Workers that show no sign of life.
    """
    root = _root(error)
    if isinstance(root, LostPeerError):
        return Failure(str(root), lost_peer=True, timed_out=root.timed_out, silent=root.silent)
    text = str(root)
    if _is_of_transport(root, text):
        timed_out = re.search(r"time(d |)out", text, re.IGNORECASE) is not None
        message = "waited for another worker in vain" if timed_out else "lost another worker"
        return Failure(message, lost_peer=True, timed_out=timed_out, silent=silent if timed_out else ())
    for words, repair in KNOWN_CAUSES.items():
        if words in text:
            return Failure(repair)
    if isinstance(root, UserError | DivergedError):
        return Failure(text)
    return Failure(f"{type(root).__name__}: {_first_line(text)}" if text.strip() else type(root).__name__)


def record(directory: RunDirectory, failure: Failure, *, rank: int, watched: bool) -> None:
    """Leave a failure for the parent; where none watches the run, say in its status that it failed.

    Args:
        directory: The run's.
        failure: Of this worker.
        rank: This worker.
        watched: Whether a parent writes the status.
    """
    path = directory.error(rank)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(failure))
    known = read_status(directory)["status"] if directory.status.exists() else "created"
    if not watched and known not in FINAL:
        write_status(directory, "failed", message=f"worker {rank} failed: {failure.message}", rank=rank)


def read(directory: RunDirectory, rank: int) -> Failure | None:
    """What a worker has left, None where it said nothing."""
    try:
        content: dict[str, Any] = json.loads(directory.error(rank).read_text())
        return Failure(**content | {"silent": tuple(content["silent"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def forget(directory: RunDirectory, rank: int) -> None:
    """Remove what an earlier attempt left."""
    directory.error(rank).unlink(missing_ok=True)


def rank_of_this_process() -> int:
    """By the environment; 0 where a worker is run alone."""
    return int(os.environ.get("RANK", "0"))


def show(error: BaseException) -> None:
    """In the worker's log: a user's mistake as one line, anything else with its traceback."""
    if isinstance(error, UserError):
        print(f"layerpar: {error}", file=sys.stderr)
    else:
        traceback.print_exception(error)


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None and not isinstance(error, UserError | DivergedError | LostPeerError):
        error = error.__cause__
    return error


def _is_of_transport(error: BaseException, text: str) -> bool:
    """Whether gloo, nccl or the store says that a peer does not answer."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"DistNetworkError", "DistStoreError", "DistBackendError"}:
        return True
    return (
        isinstance(error, RuntimeError) and re.search(r"gloo[/:]|Connection closed by peer", text) is not None
    )


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
