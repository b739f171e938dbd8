"""Whether two models differ by more than chance on the same examples, against scipy."""

import itertools
import random

import pytest
from scipy import stats

from fedtap.metrics.differences import coin_p, paired_p, shares_p


@pytest.mark.parametrize(("ahead", "behind"), list(itertools.product((0, 1, 4, 11), repeat=2)))
def test_right_and_wrong_answers_are_tested_as_mcnemar_does(ahead: int, behind: int) -> None:
    one, other = [1.0] * ahead + [0.0] * behind + [1.0] * 9, [0.0] * ahead + [1.0] * behind + [1.0] * 9
    wanted = stats.binomtest(ahead, ahead + behind).pvalue if ahead + behind else 1.0
    assert paired_p(one, other) == pytest.approx(wanted)
    assert coin_p(ahead, behind) == pytest.approx(wanted)


@pytest.mark.parametrize("shift", [0.0, 0.1, -0.4])
def test_errors_are_tested_by_their_differences(shift: float) -> None:
    draw = random.Random(0)
    one = [draw.gauss(3, 1) for _ in range(40)]
    other = [value + draw.gauss(shift, 0.5) for value in one]
    assert paired_p(one, other) == pytest.approx(stats.ttest_rel(one, other).pvalue)


def test_differences_that_are_all_alike_are_certain_or_none() -> None:
    assert paired_p([2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 2.0, 3.0, 4.0, 5.0]) == 0.0
    assert paired_p([2.5, 3.0, 4.0, 5.0, 6.0], [2.5, 3.0, 4.0, 5.0, 6.0]) == 1.0


def test_of_four_examples_nothing_is_said() -> None:
    assert paired_p([1, 1, 1, 1], [0, 0, 0, 0]) is None
    assert shares_p(1.0, 0.0, 4) is None


def test_outcomes_of_different_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        paired_p([1.0] * 6, [1.0] * 7)


def test_shares_without_outcomes_are_tested_as_of_different_examples() -> None:
    # two proportions, pooled: z = 0.1 / sqrt(2 * 0.75 * 0.25 / 128)
    assert shares_p(0.8, 0.7, 128) == pytest.approx(2 * stats.norm.sf(0.1 / (2 * 0.75 * 0.25 / 128) ** 0.5))
    assert shares_p(1.0, 1.0, 128) == 1.0
