"""The linear toy: what its methods do, and what its map must show since it can be reckoned."""

import numpy as np

from fedtap.study.regimes.toy import FEATURES, Site, by_training_loss, by_validation, risks, toy_map


def site(seed: int = 0) -> Site:
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=FEATURES)
    x, other = generator.normal(size=(2, 40, FEATURES))
    return Site(truth, x, x @ truth, other, other @ truth)


def test_a_step_is_one_of_gradient_descent() -> None:
    here = site()
    w = np.ones(FEATURES)
    gradient = sum(2 * (x @ w - y) * x for x, y in zip(here.x, here.y, strict=True)) / len(here.y)
    assert np.allclose(here.trained(w, 1), w - 0.05 * gradient)
    assert np.allclose(here.trained(w, 3), here.trained(here.trained(w, 2), 1))


def test_the_gates_look_at_what_they_say() -> None:
    here = site()
    near, far = here.truth + 0.01, here.truth + 1.0
    assert by_validation(here, near, far)
    assert not by_validation(here, far, near)
    assert by_training_loss(here, near, far)
    assert not by_training_loss(here, near, near)  # by less than the margin


def test_alike_clients_gain_by_averaging_and_those_in_conflict_lose() -> None:
    alike, apart = ([risks(conflict, 16, seed) for seed in range(5)] for conflict in (0.0, 1.0))
    assert np.mean([r["fedavg_ft"] for r in alike]) < 0.5 * np.mean([r["local"] for r in alike])
    many = [risks(1.0, 96, seed) for seed in range(5)]
    assert np.mean([r["local"] for r in many]) < np.mean([r["fedavg_ft"] for r in many])
    assert np.mean([r["local"] for r in many]) < np.mean([r["local"] for r in apart])  # more examples


def test_a_gate_on_training_losses_hardly_opens_where_it_should() -> None:
    told = [risks(0.0, 16, seed) for seed in range(5)]
    own, judged = (np.mean([r[name] for r in told]) for name in ("tap, training losses", "tap, validation"))
    assert judged < own


def test_the_map_is_the_same_whenever_it_is_made() -> None:
    once, again = (toy_map((0.0, 1.0), (16,), seeds=3) for _ in range(2))
    assert once == again
    assert [(cell["conflict"], cell["examples"]) for cell in once] == [(0.0, 16), (1.0, 16)]
