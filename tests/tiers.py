"""Which parameters of a test `make test` tries, and which only `make test-thorough` does."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def thorough_but(often: Collection[str], every: Iterable[str], *marks: pytest.MarkDecorator) -> list[Any]:
    """Return a test's parameters by name; those that are not tried often are ``thorough``, and have these marks as well."""
    every = tuple(every)
    assert set(often) <= set(every), f"no such parameter: {set(often) - set(every)}"
    return [name if name in often else pytest.param(name, marks=[pytest.mark.thorough, *marks]) for name in every]
