"""Whole runs: everything below put together, from a scenario to a folder of results."""

from fedtap.experiment.predict import predict
from fedtap.experiment.run import run

__all__ = ["predict", "run"]
