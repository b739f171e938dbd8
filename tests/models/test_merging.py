"""Merging adapters into matrices, where that cannot be done. What it gives where it can is in test_exports.py."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from fedtap.models.merging import merged_network
from fedtap.runtime.errors import UserError
from tiny import DIGITS, blueprint, build_network


@pytest.mark.parametrize("adaptation", ["dual", "dual_near"])
def test_two_adapters_under_a_gate_are_refused_in_one_line(adaptation: str) -> None:
    network, sizes = build_network((DIGITS,), adaptation=adaptation), blueprint((DIGITS,), adaptation=adaptation)
    saved = SimpleNamespace(name="personal", network=sizes.network, blueprint=sizes, state=network.initial_state())
    with pytest.raises(
        UserError, match=r"'personal' mixes two adapters for each input, .* one adapter a matrix"
    ) as error:
        merged_network(cast(Any, SimpleNamespace(saved=saved, network=network)))
    assert "\n" not in str(error.value)
