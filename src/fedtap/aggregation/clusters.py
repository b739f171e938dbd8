r"""Clusters of clients whose updates point the same way: average linkage, their number by the silhouette. Pure.

Two clients are :math:`\frac{1}{|C|} \sum_{c \in C} (1 - \cos(d_{i,c}, d_{j,c}))` apart, over the components that both have;
without any in common, or with an update of length zero, they are at a right angle. The silhouette is that of Rousseeuw 1987.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from fedtap.components import ComponentKey, ComponentState

Distances = npt.NDArray[np.float64]


def distance(a: ComponentState, b: ComponentState) -> float:
    """Return how far apart two updates point, from 0 (the same way) to 2 (opposite ways)."""
    common = [key for key in a if key in b]
    if not common:
        return 1.0
    return 1.0 - sum(_cosine(a, b, key) for key in common) / len(common)


def _cosine(a: ComponentState, b: ComponentState, key: ComponentKey) -> float:
    x, y = (torch.cat([tensor.double().flatten() for tensor in state[key].values()]) for state in (a, b))
    lengths = float(x.norm() * y.norm())
    return float(x @ y) / lengths if lengths else 0.0


def clusters(distances: Distances, most: int) -> list[int]:
    """Return each one's cluster, numbered in the order in which they first appear.

    Of two to ``most`` clusters those with the greatest mean silhouette are taken, of equals the fewest; one cluster where no
    silhouette is positive, or where there are fewer than three to tell apart.

    Parameters
    ----------
    distances
        ``(n, n)``, symmetric.
    most
        The most clusters.
    """
    count = len(distances)
    best, labels = 0.0, [0] * count
    if count < 3 or most < 2:
        return labels
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    tree = linkage(squareform(distances, checks=False), method="average")
    for wanted in range(2, min(most, count - 1) + 1):
        found = fcluster(tree, wanted, criterion="maxclust").tolist()
        score = silhouette(distances, found)
        if score > best + 1e-12:
            best, labels = score, found
    names = list(dict.fromkeys(labels))
    return [names.index(label) for label in labels]


def silhouette(distances: Distances, labels: Sequence[int]) -> float:
    """Return the mean of ``(b - a) / max(a, b)``: a the mean distance within the own cluster, b to the nearest other; 0 if alone.

    >>> silhouette(np.array([[0, 1, 4], [1, 0, 4], [4, 4, 0]], float), [0, 0, 1])
    0.5
    """
    given = np.asarray(labels)
    scores = []
    for i, label in enumerate(labels):
        own = (given == label) & (np.arange(len(given)) != i)
        others = [float(distances[i, given == other].mean()) for other in set(labels) - {label}]
        if not own.any() or not others:
            scores.append(0.0)
            continue
        within, beside = float(distances[i, own].mean()), min(others)
        scores.append((beside - within) / max(within, beside) if max(within, beside) > 0 else 0.0)
    return sum(scores) / len(scores)
