"""Served models are those of the tests of models, under the same conditions."""

from models.conftest import cache

__all__ = ["cache"]
