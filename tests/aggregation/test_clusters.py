"""Clusters of directions: distances by hand, scikit-learn's silhouette, and how many there are."""

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score

from fedtap.aggregation.clusters import clusters, distance, silhouette
from fedtap.components import ComponentState
from fedtap.pairs import ComponentKey

A, B = ComponentKey("shared"), ComponentKey("head", ("x",))


def state(**named: tuple[float, ...]) -> ComponentState:
    return ComponentState(
        {key: {"w": torch.tensor(named[name])} for name, key in (("a", A), ("b", B)) if name in named}
    )


def test_distances_by_hand() -> None:
    first = state(a=(1.0, 0.0), b=(2.0,))
    assert distance(first, state(a=(0.0, 5.0), b=(0.1,))) == pytest.approx(0.5)  # 1 and 0
    assert distance(first, state(a=(-3.0, 0.0))) == pytest.approx(2.0)
    assert distance(first, state(a=(0.0, 0.0))) == 1.0
    assert distance(state(a=(1.0, 0.0)), state(b=(1.0,))) == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_the_silhouette_is_scikit_learns(seed: int) -> None:
    draw = np.random.default_rng(seed)
    points = draw.normal(size=(9, 2))
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    labels = [0, 0, 0, 1, 1, 2, 2, 2, 3]
    assert silhouette(apart, labels) == pytest.approx(silhouette_score(apart, labels, metric="precomputed"))


@pytest.mark.parametrize(("groups", "most", "expected"), [(3, 4, 3), (2, 4, 2), (3, 2, 2)])
def test_as_many_clusters_as_there_are_groups_or_may_be(groups: int, most: int, expected: int) -> None:
    draw = np.random.default_rng(0)
    of = [i % groups for i in range(9)]
    points = 10.0 * np.eye(3)[of] + draw.normal(size=(9, 3)) * 0.1
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    found = clusters(apart, most)
    assert len(set(found)) == expected
    assert found[0] == 0
    if expected == groups:
        assert found == of


def test_too_few_or_all_alike_are_one_cluster() -> None:
    assert clusters(np.array([[0.0, 2.0], [2.0, 0.0]]), 4) == [0, 0]
    assert clusters(np.zeros((4, 4)), 4) == [0] * 4
    assert clusters(1.0 - np.eye(5), 4) == [0] * 5  # all at right angles: no split is better than another
