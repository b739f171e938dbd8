"""Whole runs: everything below put together, from a scenario to a folder of results."""

from fedtap.experiment.compare import compare
from fedtap.experiment.predict import predict
from fedtap.experiment.run import run
from fedtap.experiment.sweep import sweep

__all__ = ["compare", "predict", "run", "sweep"]
