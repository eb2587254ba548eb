"""Compare layer-parallel training with serial, data-parallel and pipeline training, fairly.

`layerpar.api` says what the functions do. They are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layerpar.api import compare, load, plot, summarise, train

__version__ = "0.1.0"
__all__ = ["compare", "load", "plot", "summarise", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from layerpar import api

    return getattr(api, name)
