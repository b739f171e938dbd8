"""FedBN's LayerNorm analogue: a round by hand, and which tensors leave a client."""

import pytest
from torch import nn

from fedtap.algorithms.registry import make
from fedtap.network.experts import Experts
from fedtap.network.network import Network
from fedtap.pairs import ComponentKey
from tiny import DIGITS, LAW, MOOD, blueprint, build_network, local_client
from two_layers import STEPS, by_hand, difference, federate

PAIRS = (DIGITS, MOOD, LAW)
NORM, REST = ("scale", "shift"), ("project", "head")


def test_two_rounds_are_those_worked_out_by_hand() -> None:
    federated = federate(make({}, "fedbn"))
    everything = [("federated", STEPS, NORM + REST)]
    assert difference(federated, by_hand(everything, home=NORM)) < 1e-5
    assert difference(federated, by_hand([("federated", STEPS, REST)], home=NORM)) > 1e-2  # normalisations learn too


def names_at_home(adaptation: str) -> dict[str, set[str]]:
    """Return the names of the tensors that stay, by the component's kind, after making sure that the others are sent."""
    client = local_client(PAIRS, network=build_network(PAIRS, adaptation=adaptation))
    fedbn = make({}, "fedbn")
    start = client.initial_state()
    update, state = fedbn.local_round(client, start.select(fedbn.travels), fedbn.start(client))
    home = state.models["home"]
    sent = {(key, name) for key, name, _ in update.components.tensors()}
    kept = {(key, name) for key, name, _ in home.tensors()}
    assert not sent & kept
    assert sent | kept == {(key, name) for key, name, _ in start.tensors()}
    assert frozenset(update.components) == client.plan  # no component is all normalisation
    by_kind: dict[str, set[str]] = {}
    for key, name in kept:
        by_kind.setdefault("/".join((key.kind, *key.names)) if key.kind == "head" else key.kind, set()).add(name)
    return by_kind


def both(*modules: str) -> set[str]:
    return {f"{module}.{part}" for module in modules for part in ("weight", "bias")}


def test_normalisations_stay_and_everything_else_travels() -> None:
    layer = [f"layers.0.{part}.norm" for part in ("look_back", "look_at_input", "think")]
    heads = {
        "encoder": both("norm"),
        "head/digits": both("norm", "place_norm"),
        "head/mood": both("norm"),
        "head/law": both("memory_norm", "out_norm", *layer),
    }
    assert names_at_home("full") == {**heads, "attention": {"ln1_w", "ln1_b", "ln2_w", "ln2_b"}}
    assert names_at_home("lora") == heads  # the fusion's normalisations are frozen


class Disguised(Experts):
    def build(self, key: ComponentKey) -> nn.Module:
        return nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 3)) if key.kind == "head" else super().build(key)


def test_a_normalisation_under_another_name_is_refused_and_not_sent() -> None:
    architecture = Disguised(blueprint([DIGITS]))
    network = Network(architecture, architecture.plan([DIGITS]), seed=0)
    client = local_client([DIGITS], network=network)
    with pytest.raises(ValueError, match=r"head/digits:0\.weight belongs to a LayerNorm, but its name does not say so"):
        make({}, "fedbn").start(client)
