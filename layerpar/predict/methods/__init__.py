"""A file per mode: how long its steps take, what it sends, what it holds."""

from layerpar.predict.methods import data as data
from layerpar.predict.methods import layerwise as layerwise
from layerpar.predict.methods import pipeline as pipeline
from layerpar.predict.methods import sequential as sequential
from layerpar.predict.methods import serial as serial
from layerpar.predict.methods.base import Method as Method
from layerpar.predict.methods.base import Prediction as Prediction
from layerpar.predict.methods.base import is_predicted as is_predicted
from layerpar.predict.methods.base import method as method
