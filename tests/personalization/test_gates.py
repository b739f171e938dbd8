"""The two rules of adoption."""

import math

import pytest
import torch
from scipy import stats

from fedtap.personalization.gates import margin_gate, paired_gate


@pytest.mark.parametrize(
    ("federated", "personal", "margin", "better"),
    [
        (1.0, 1.5, 0.25, True),
        (1.0, 1.25, 0.25, False),  # the margin itself is not enough
        (1.0, 0.5, 0.0, False),
        (1.0, 1.0, 0.0, False),
        (1.0, math.inf, 1e9, True),  # no history: the first participation adopts
        (math.inf, math.inf, 0.0, False),
        (math.nan, 1.0, 0.0, False),
    ],
)
def test_the_margin(federated: float, personal: float, margin: float, better: bool) -> None:
    assert margin_gate(federated, personal, margin) is better


@pytest.mark.parametrize("n", [2, 3, 10, 48])
@pytest.mark.parametrize("shift", [-0.5, 0.0, 0.1, 0.5])
def test_the_paired_test_is_one_sided_and_agrees_with_scipy(n: int, shift: float) -> None:
    generator = torch.Generator().manual_seed(n)
    federated = torch.rand(n, generator=generator)
    personal = federated + shift + 0.3 * torch.randn(n, generator=generator)
    _, p = paired_gate(federated, personal, 0.1)
    expected = float(stats.ttest_rel(federated.double(), personal.double(), alternative="less").pvalue)
    assert p == pytest.approx(expected, rel=1e-6)
    for alpha in (expected * 0.99, expected * 1.01):
        assert paired_gate(federated, personal, alpha)[0] is (expected < alpha)


def test_the_paired_test_needs_two_examples() -> None:
    assert paired_gate(torch.tensor([0.0]), torch.tensor([9.0]), 0.5) == (False, 1.0)
    assert paired_gate(torch.tensor([]), torch.tensor([]), 0.5) == (False, 1.0)


@pytest.mark.parametrize(("difference", "verdict"), [(0.25, (True, 0.0)), (0.0, (False, 1.0)), (-0.25, (False, 1.0))])
def test_where_all_differences_are_equal_their_sign_decides(difference: float, verdict: tuple[bool, float]) -> None:
    federated = torch.tensor([1.0, 2.0, 4.0])
    assert paired_gate(federated, federated + difference, 0.1) == verdict


def test_pairing_sees_what_means_alone_do_not() -> None:
    """Examples of very different difficulty: a small, steady gain is certain only because they are compared pair by pair."""
    federated = torch.linspace(0, 10, 20)
    personal = federated + torch.linspace(0.01, 0.02, 20)
    assert paired_gate(federated, personal, 0.01)[0]
    assert stats.ttest_ind(federated, personal, alternative="less").pvalue > 0.4
