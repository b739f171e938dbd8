"""What is kept of what befalls while a source is read."""

from __future__ import annotations

import pytest

from fedtap.data.sources.intake import KEPT, DataError, Intake
from fedtap.runtime.errors import UserError


def told(*faults: str) -> tuple[list[str], int]:
    """Return the lines that are kept of these faults, and how many there are."""
    intake = Intake()
    for fault in faults:
        intake.fault(UserError(fault))
    with pytest.raises(DataError) as found:
        intake.refuse()
    return list(found.value.faults), found.value.number


def test_another_fault_behind_many_rows_of_the_same_is_kept() -> None:
    same = [f"a.csv:{line}: empty" for line in range(2, KEPT + 52)]
    lines, number = told(*same, "a.csv:900: too long", "a.csv:901: too long", "a.csv:902: empty", "b.csv:2: empty")
    assert lines == [*same[:KEPT], "a.csv:900: too long", "b.csv:2: empty"]
    assert number == KEPT + 54


def test_as_many_kinds_as_lines_are_kept_at_the_most() -> None:
    kinds = [f"a.csv:{line}: no class 'c{line}'" for line in range(3 * KEPT)]
    assert told(*kinds) == (kinds[:KEPT], 3 * KEPT)
    lines, _ = told(*["a.csv:2: empty"] * KEPT, *kinds)
    assert lines == ["a.csv:2: empty"] * KEPT + kinds[: KEPT - 1]


def test_faults_that_lie_in_no_row_are_told_apart_by_their_words() -> None:
    files = [f"{number}.png: no picture" for number in range(KEPT + 5)]
    assert told(*files, "z.png: no picture") == (files[:KEPT], KEPT + 6)
