"""A failure is one line in the worker's own words, whatever libraries wrap around it."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpar import failure
from layerpar.errors import LostPeerError, UserError
from layerpar.failure import Failure
from layerpar.measure.records import read_status, write_status
from layerpar.paths import RunDirectory

GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp"
CLOSED = RuntimeError(f"{GLOO}/pair.cc:561] Connection closed by peer [127.0.0.1]:4248.")
LATE = RuntimeError(f"{GLOO}/unbound_buffer.cc:129] Timed out waiting 1000ms for send operation to complete")


def wrapped() -> RuntimeError:
    """As torch.distributed.pipelining wraps what a stage raised."""
    try:
        try:
            raise ValueError("the wire is cut")
        except ValueError as error:
            raise RuntimeError("\n [Stage 0] failed to run forward:\n args: ()\n **kwargs: {}") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (wrapped(), Failure("ValueError: the wire is cut")),
        (UserError("seed=x is wrong; try seed=1"), Failure("seed=x is wrong; try seed=1")),
        (KeyError("weight"), Failure("KeyError: 'weight'")),
        (AssertionError(), Failure("AssertionError")),
        (RuntimeError("In loading:\n\tsize mismatch"), Failure("RuntimeError: In loading: size mismatch")),
        (CLOSED, Failure("lost another worker", lost_peer=True)),
        (LATE, Failure("waited for another worker in vain", lost_peer=True, timed_out=True, silent=(3,))),
        (LostPeerError("it is gone", silent=(2,)), Failure("it is gone", lost_peer=True, silent=(2,))),
    ],
)
def test_one_line(error: Exception, expected: Failure) -> None:
    assert failure.explain(error, silent=(3,)) == expected


def test_batch_norm_with_one_sample_names_the_override() -> None:
    from torch import nn, rand

    with pytest.raises(ValueError, match="more than 1 value") as caught:
        nn.BatchNorm1d(4)(rand(1, 4))
    assert "batch_size" in failure.explain(caught.value).message


def test_what_is_written_is_read_and_forgotten(tmp_path: Path) -> None:
    directory, words = RunDirectory(tmp_path), Failure("late", lost_peer=True, timed_out=True, silent=(1, 2))
    failure.record(directory, words, rank=3, watched=True)
    assert failure.read(directory, 3) == words
    assert failure.read(directory, 2) is None
    assert not directory.status.exists()
    failure.forget(directory, 3)
    assert failure.read(directory, 3) is None


def test_without_a_parent_the_status_says_failed_and_a_later_loss_changes_nothing(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    write_status(directory, "running")
    failure.record(directory, Failure("broken"), rank=1, watched=False)
    failure.record(directory, Failure("lost another worker", lost_peer=True), rank=0, watched=False)
    assert read_status(directory)["status"] == "failed"
    assert read_status(directory)["message"] == "worker 1 failed: broken"
    write_status(directory, "done")
    failure.record(directory, Failure("broken"), rank=1, watched=False)
    assert read_status(directory)["status"] == "done"
