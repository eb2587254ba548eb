"""Reads pickles of numbers, text, lists, dicts and numpy arrays of numbers, and runs nothing that one names.

A pickle says which functions to call. Here it gets stand-ins for the few that numpy's arrays name, and not
even numpy's own: those trust what they are told about memory.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from typing import IO, Any

import numpy as np


class PlainArray:
    """Stands for an array while it is read.

    Attributes:
        array: The numpy array that the pickle describes.
    """

    def __init__(self, *_: Any) -> None:
        self.array = np.empty(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, is_fortran, content = state
        self.array = _array(content, kind, shape, "F" if is_fortran else "C")


class _Kind:
    """Stands for a `numpy.dtype`."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or re.fullmatch(r"b1|[iuf][1248]", code) is None:
            raise pickle.UnpicklingError(f"holds an array of {code}, not of numbers")
        self.code = code
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        self.order = ">" if state[1] == ">" else "<"


def load(file: IO[bytes]) -> Any:
    """What the pickle holds; arrays as `PlainArray`, text of Python 2 as Latin-1.

    Raises:
        pickle.UnpicklingError: it names anything else.
    """
    return _Unpickler(file, encoding="latin1").load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        # numpy 2 has moved what numpy 1 kept in numpy.core
        known = _KNOWN.get((module.replace("numpy._core", "numpy.core"), name))
        if known is None:
            raise pickle.UnpicklingError(f"names {module}.{name}, which no set of images needs")
        return known


def _array(content: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    raw = content.encode("latin1") if isinstance(content, str) else bytes(content)
    flat = np.frombuffer(raw, np.dtype(kind.order + kind.code))
    if math.prod(shape) != flat.size:
        raise pickle.UnpicklingError(f"{flat.size} numbers are no array of shape {shape}")
    return flat.astype(kind.code).reshape(shape, order="F" if order == "F" else "C")


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any) -> PlainArray:
    read = PlainArray()
    read.array = _array(content, kind, shape, order)
    return read


def _scalar(kind: Any, content: Any) -> Any:
    return _array(content, kind, (), "C").item()


def _encode(text: str, _: str) -> bytes:
    return text.encode("latin1")


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): PlainArray,
    ("numpy", "dtype"): _Kind,
    ("numpy.core.multiarray", "_reconstruct"): PlainArray,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _encode,
}
