"""A pickle may hold numbers, text and arrays, and can make nothing happen."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerpar.datasets.plain_pickle import PlainArray, load

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def through(value: Any, protocol: int = pickle.DEFAULT_PROTOCOL) -> Any:
    return load(io.BytesIO(pickle.dumps(value, protocol)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", [7, -1.5, "text", b"\xff\x00", True, None, [1, [2]], (1,), {"a": [b"b"]}])
def test_plain_values(value: Any, protocol: int) -> None:
    assert through(value, protocol) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", ["u1", "i8", ">i4", "<u2", "f4", ">f8", "f2", "?"])
def test_arrays_of_numbers(kind: str, protocol: int) -> None:
    array = np.arange(12).reshape(3, 4).astype(kind)
    for stored in (array, np.asfortranarray(array), array[::2], array[1, 1:2]):
        read = through(stored, protocol)
        assert isinstance(read, PlainArray)
        assert read.array.dtype == stored.dtype.newbyteorder("=")
        assert np.array_equal(read.array, stored)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numbers_of_numpy(protocol: int) -> None:
    assert through([np.uint8(3), np.int64(-4), np.float32(0.5)], protocol) == [3, -4, 0.5]


def test_text_of_python_2() -> None:
    """As `cPickle` of Python 2 wrote CIFAR: text and an array's bytes are one and the same type."""
    of_python_2 = b"\x80\x02}q\x01U\x06labelsq\x02]q\x03K\x06as."
    assert load(io.BytesIO(of_python_2)) == {"labels": [6]}


class Calls:
    """Pickles as a call of something."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


FOREIGN = {
    "a command": lambda path: Calls(os.system, f"touch {path}"),
    "code": lambda path: Calls(eval, f"open({str(path)!r}, 'w')"),
    "an import": lambda path: Calls(__import__, "antigravity"),
    "a file": lambda path: Calls(np.memmap, str(path), "u1", "w+", 0, (4,)),
    "an attribute of numpy": lambda path: Calls(np.fromfile, str(path)),
    "an object of ours": lambda path: Calls(Path, str(path)),
    "an array of objects": lambda path: np.array([Calls(os.system, f"touch {path}")], object),
    "an array of records": lambda path: np.zeros(2, "u1,i4"),
    "a set": lambda path: {1, 2},
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", FOREIGN)
def test_nothing_else(name: str, protocol: int, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    content = pickle.dumps({"data": FOREIGN[name](trace)}, protocol)
    if name == "a set" and protocol >= 4:
        assert load(io.BytesIO(content)) == {"data": {1, 2}}
        return
    with pytest.raises(pickle.UnpicklingError, match=r"names|array of"):
        load(io.BytesIO(content))
    assert not trace.exists()


def test_numbers_that_do_not_fill_the_shape() -> None:
    function, (_, kind, _, _) = np.zeros(3, "u1").__reduce_ex__(5)
    lie = Calls(function, b"abc", kind, (1000,), "C")
    with pytest.raises(pickle.UnpicklingError, match="3 numbers are no array of shape"):
        through({"data": lie}, 5)
