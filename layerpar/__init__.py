"""Compare layer-parallel training with serial, data-parallel and pipeline training, fairly."""

__version__ = "0.1.0"
