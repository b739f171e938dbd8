"""The estimators against populations whose constants are known: exact where all is seen, unbiased where batches are drawn."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedtap.theory.estimators import BatchGradients, ClientGradient, ComponentSums

Examples = dict[str, NDArray[np.float64]]
"""Per task the gradients of all its examples, ``(examples, size)``."""
BATCH = 4


def population(rng: np.random.Generator, clients: list[tuple[str, ...]], size: int = 3) -> list[Examples]:
    pull = {task: rng.normal(size=size) * 2 for task in "abc"}
    return [
        {task: pull[task] + rng.normal(size=size) + rng.normal(size=(int(rng.integers(9, 15)), size)) for task in tasks}
        for tasks in clients
    ]


def seen(
    client: Examples, rng: np.random.Generator, *, batches: int | None, unused: int = 0, size: int = BATCH
) -> ClientGradient:
    """Return a client's gradient from some batches of each task, or from all examples one by one."""
    total = sum(len(gradients) for gradients in client.values()) + unused
    tasks = {}
    for task, gradients in client.items():
        size = 1 if batches is None else size
        found = BatchGradients(examples=len(gradients), size=size)
        order = rng.permutation(len(gradients))
        for start in range(0, len(order) if batches is None else batches * size, size):
            found.add(gradients[order[start : start + size]].mean(0))
        tasks[task] = found
    return ClientGradient(tasks, {task: len(g) / total for task, g in client.items()}, BATCH)


def true_gradient(client: Examples) -> NDArray[np.float64]:
    return np.concatenate(list(client.values())).mean(0)


CLIENTS = [("a",), ("a",), ("b",), ("b",), ("a", "b"), ("c",)]


def test_all_examples_give_the_constants_themselves() -> None:
    rng = np.random.default_rng(0)
    clients = population(rng, CLIENTS)
    sums = ComponentSums()
    for client in clients:
        sums.add(seen(client, rng, batches=None))
    found = sums.estimate()
    g = np.array([true_gradient(client) for client in clients])
    G = g.mean(0)
    assert found.holders == 6
    assert found.gradient2 == pytest.approx(G @ G)
    assert found.zeta2 == pytest.approx(((g - G) ** 2).sum(1).mean())
    groups = [[0, 1], [2, 3], [4], [5]]
    between = sum(len(group) / 6 * ((g[group].mean(0) - G) ** 2).sum() for group in groups)
    assert found.zeta2_pairs == pytest.approx(between)
    assert found.zeta2_within == pytest.approx(sum(((g[x] - g[x].mean(0)) ** 2).sum() for x in groups) / 6)
    means = {task: np.mean([c[task].mean(0) for c in clients if task in c], axis=0) for task in "abc"}
    square = sum(m @ m for m in means.values()) / 3
    crossed = [means[x] @ means[y] for x, y in combinations("abc", 2)]
    assert found.cosine == pytest.approx(np.mean(crossed) / square)
    assert found.alignment == pytest.approx(
        np.mean(list(means.values()), axis=0) @ np.mean(list(means.values()), axis=0) / square
    )
    cosines = {
        two: means[two[0]] @ means[two[1]] / np.sqrt(means[two[0]] @ means[two[0]] * (means[two[1]] @ means[two[1]]))
        for two in combinations("abc", 2)
    }
    least = min(cosines, key=lambda two: cosines[two])
    assert found.apart is not None
    assert found.apart[:2] == least
    assert found.apart[2] == pytest.approx(cosines[least])


def test_the_noise_is_that_of_a_mini_batch_of_all_tasks() -> None:
    """With all examples seen it is the exact variance of a batch drawn without replacement, but for n / (n - 1) within tasks."""
    rng = np.random.default_rng(1)
    (client,) = population(rng, [("a", "b")])
    every = np.concatenate(list(client.values()))
    n = len(every)
    found = seen(client, rng, batches=None)
    within = sum(((g - g.mean(0)) ** 2).sum() / (len(g) - 1) * len(g) for g in client.values())
    between = sum(len(g) * ((g.mean(0) - every.mean(0)) ** 2).sum() for g in client.values())
    assert found.noise == pytest.approx((within + between) / n / BATCH * (1 - BATCH / n))
    variance = ((every - every.mean(0)) ** 2).sum() / (n - 1) / BATCH * (1 - BATCH / n)  # what drawing a batch gives
    assert found.noise == pytest.approx(variance, rel=0.06)


def test_examples_of_tasks_elsewhere_count_as_nothing() -> None:
    rng = np.random.default_rng(2)
    (client,) = population(rng, [("a",)])
    n = len(client["a"])
    found = seen(client, rng, batches=None, unused=n)
    assert found.value == pytest.approx(true_gradient(client) / 2)
    every = np.concatenate([client["a"], np.zeros_like(client["a"])])
    variance = ((every - every.mean(0)) ** 2).sum() / (2 * n - 1) / BATCH * (1 - BATCH / (2 * n))
    assert found.noise == pytest.approx(variance, rel=0.06)


def test_batches_give_unbiased_estimates() -> None:
    rng = np.random.default_rng(3)
    clients = population(rng, CLIENTS)
    whole = ComponentSums()
    for client in clients:
        whole.add(seen(client, rng, batches=None))
    truth = whole.estimate().to_json()
    names = ["gradient2", "zeta2", "zeta2_pairs", "zeta2_within", "noise2"]
    draws = []
    for _ in range(700):
        sums = ComponentSums()
        for client in clients:
            sums.add(seen(client, rng, batches=2))
        draws.append([sums.estimate().to_json()[name] for name in names])
    mean, error = np.mean(draws, axis=0), np.std(draws, axis=0) / np.sqrt(len(draws))
    for name, value, off in zip(names, mean, error, strict=True):
        assert abs(value - truth[name]) < 4.5 * off + 1e-9, name


def test_the_noise_of_two_tasks_is_unbiased() -> None:
    """Of few examples the tasks' means are known badly; what seems to lie between them is then mostly noise."""
    rng = np.random.default_rng(5)
    client = {task: rng.normal(size=(60, 3)) for task in "ab"}
    truth = seen(client, rng, batches=None, unused=60).noise
    found = np.array([seen(client, rng, batches=2, size=2, unused=60).noise for _ in range(1500)])
    assert abs(found.mean() - truth) < 4 * found.std() / np.sqrt(len(found))
    assert found.std() / np.sqrt(len(found)) < 0.02 * truth


def test_one_example_has_no_noise() -> None:
    found = BatchGradients(examples=1, size=1)
    found.add(np.array([3.0, 4.0]))
    assert (found.spread, found.variance) == (0.0, 0.0)
    assert ClientGradient({"a": found}, {"a": 1.0}, 8).noise == 0.0


def test_one_task_pulls_nowhere() -> None:
    sums = ComponentSums()
    rng = np.random.default_rng(4)
    for client in population(rng, [("a",), ("a",)]):
        sums.add(seen(client, rng, batches=None))
    found = sums.estimate()
    assert (found.alignment, found.cosine, found.apart) == (None, None, None)
    assert found.zeta2_pairs == pytest.approx(0, abs=1e-12)
    assert found.to_json()["apart"] is None


@pytest.mark.parametrize("K", [2, 5])
def test_identities_of_corollary_3(K: int) -> None:
    """One pair a client, as many holders each: alignment, cosine and the part between pairs are tied to each other."""
    rng = np.random.default_rng(K)
    sums = ComponentSums()
    pulls = rng.normal(size=(K, 4))
    for number, pull in enumerate(pulls):
        for _ in range(2):
            sums.add(seen({f"t{number}": pull + rng.normal(size=(6, 4))}, rng, batches=None))
    found = sums.estimate()
    assert found.cosine is not None
    assert found.alignment is not None
    assert found.alignment == pytest.approx((1 + (K - 1) * found.cosine) / K)
    square = found.gradient2 / found.alignment
    assert found.zeta2_pairs == pytest.approx(square * (1 - found.cosine) * (1 - 1 / K))


def test_orthogonal_gradients_are_no_sign_of_peace() -> None:
    """Nine tasks that each want another corner: cosine 0 at the start, and eight ninths of the loss can never be removed."""
    corners = np.eye(9)

    def look(x: NDArray[np.float64]) -> ComponentSums:
        sums = ComponentSums()
        for task, corner in enumerate(corners):
            found = BatchGradients(examples=1, size=1)
            found.add(x - corner)
            sums.add(ClientGradient({str(task): found}, {str(task): 1.0}, BATCH))
        return sums

    start, best = look(np.zeros(9)).estimate(), look(corners.mean(0)).estimate()
    assert start.cosine == pytest.approx(0)
    assert start.alignment == pytest.approx(1 / 9)
    assert start.zeta2_pairs == pytest.approx(8 / 9)
    assert best.gradient2 == pytest.approx(0)
    assert best.zeta2_pairs / 2 == pytest.approx(8 / 9 * 0.5)  # what is left of a mean loss of 0.5
    assert best.cosine == pytest.approx(-1 / 8)
