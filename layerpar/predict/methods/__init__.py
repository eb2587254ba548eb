"""A file per mode: how long its steps take, what it sends, what it holds."""

from layerpar.predict.methods import data, layerwise, pipeline, sequential, serial
from layerpar.predict.methods.base import Method, Prediction, method

__all__ = ["Method", "Prediction", "data", "layerwise", "method", "pipeline", "sequential", "serial"]
