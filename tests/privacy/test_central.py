"""Central noise by hand, and that no method sees anything of a client's update but through it."""

from typing import Any

import pytest
import torch

from builders import CARDS, ToyArchitecture, ToyMethod, components, server, sound_reply
from fedtap.algorithms.base import ServerState, Update
from fedtap.algorithms.registry import algorithms, make
from fedtap.components import ComponentKey, ComponentState
from fedtap.federation.filters import add_central_noise
from fedtap.federation.server import Server
from fedtap.privacy.central import clip, sensitivity
from fedtap.scenario.safety import CentralSettings, PrivacySettings, Safety

A, B = ComponentKey("shared"), ComponentKey("head", ("x",))
QUIET = 1e-12


def state(a: list[float] | None = None, b: list[float] | None = None) -> ComponentState:
    given = {A: a, B: b}
    return ComponentState({key: {"w": torch.tensor(value)} for key, value in given.items() if value is not None})


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_an_update_is_clipped_as_a_whole_or_component_by_component() -> None:
    sent, trained = state([1.0], [1.0]), state([4.0], [5.0])  # a change of 3 and 4
    whole = clip(trained, sent, CentralSettings(clip=1))
    assert [float(whole[key]["w"]) for key in (A, B)] == pytest.approx([1.6, 1.8])
    each = clip(trained, sent, CentralSettings(clip=3.5, scope="component"))
    assert [float(each[key]["w"]) for key in (A, B)] == pytest.approx([4.0, 4.5])
    assert clip(trained, sent, CentralSettings(clip=5)).equal(trained)


def test_the_mean_by_hand_counts_every_client_alike() -> None:
    sent = {"one": state([1.0], [0.0]), "two": state([1.0])}
    updates = {"one": Update(state([4.0], [4.0]), {A: 500, B: 1}), "two": Update(state([1.5]), {A: 1})}
    settings = CentralSettings(clip=1, noise=QUIET)
    made = add_central_noise(updates, sent, state([1.0], [0.0]), settings, most=2, generator=generator())
    assert float(made["one"].components[A]["w"]) == pytest.approx(1 + (0.6 + 0.5) / 2)
    assert float(made["one"].components[B]["w"]) == pytest.approx(0.8)  # one client holds it
    assert set(made["two"].components) == {A}
    assert made["two"].counts == {A: 1}
    assert made["two"].components[A]["w"] is made["one"].components[A]["w"]


@pytest.mark.parametrize(("scope", "bound"), [("update", 2.0), ("component", 2.0 * 3)])
def test_the_noise_has_the_deviation_that_is_accounted_for(scope: Any, bound: float) -> None:
    settings = CentralSettings(clip=2, noise=1.5, scope=scope)
    assert sensitivity(settings, 9) == bound
    still = state([0.0] * 20_000)
    updates = {client: Update(still, {A: 1}) for client in "abcd"}
    made = add_central_noise(updates, dict.fromkeys("abcd", still), still, settings, most=9, generator=generator())
    assert float(made["a"].components[A]["w"].std()) == pytest.approx(1.5 * bound / 4, rel=0.03)


def private_server(**privacy: Any) -> Server:
    return Server(
        algorithm=ToyMethod(),
        architecture=ToyArchitecture(),
        state=server().state,
        cards=CARDS,
        safety=Safety(privacy=PrivacySettings(central=CentralSettings(clip=1, noise=0.1), **privacy)),
    )


def after_a_round(federation: Server, moved: float = 5.0) -> ComponentState:
    replies = []
    for card in CARDS:
        request = federation.request(card.id, 1)
        replies.append(sound_reply(request, card, components=request.components.map(lambda tensor: tensor + moved)))
    federation.aggregate(replies)
    return federation.components


def test_noise_is_secret_unless_it_is_seeded() -> None:
    secret = [after_a_round(private_server()) for _ in range(2)]
    assert not secret[0].equal(secret[1])
    seeded = [after_a_round(private_server(noise_source="seeded")) for _ in range(2)]
    assert seeded[0].equal(seeded[1])


@pytest.mark.parametrize("method", sorted(algorithms()))
def test_no_method_lets_anything_past_the_clipping(method: str) -> None:
    """A change of a thousand from one client moves nothing that the server keeps, for others or for itself, beyond the bound."""
    start = ServerState(components([A, B], seed=1))
    honest = components([A, B], seed=2)
    sent = dict.fromkeys("abc", start.components)
    updates = {
        client: Update(
            honest.map(lambda tensor, far=far: tensor + far), {A: 9, B: 9}, vectors={"relevance": torch.ones(512) * far}
        )
        for client, far in (("a", 0.0), ("b", 0.0), ("c", 1000.0))
    }
    algorithm = make({}, method)
    settings = CentralSettings(clip=1, noise=QUIET)
    made = add_central_noise(updates, sent, start.components, settings, most=2, generator=generator())
    after = algorithm.aggregate(start, made)
    kept = [after.components, *after.tailored.values(), *after.kept.values()]
    for held in kept:
        for key, name, tensor in held.tensors():
            base = start.components[key][name]
            away = min(float((tensor - base).norm()), float(tensor.norm()))  # what is kept may be a change itself
            assert away <= 2.0
    assert all(not update.vectors for update in made.values())
