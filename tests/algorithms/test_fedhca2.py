"""FedHCA2: attention and hyper weights by hand, who is moved by whom, and what it reduces to."""

import math

import pytest
import torch

from fedtap.aggregation.cross_attention import cross_attention
from fedtap.algorithms.base import ServerState, Update
from fedtap.algorithms.fedhca2 import FedHca2, FedHca2Params
from fedtap.algorithms.registry import make
from fedtap.components import ComponentKey, ComponentState
from tiny import DIGITS, MOOD, jittered, local_client

BODY, OTHER = ComponentKey("shared"), ComponentKey("encoder", ("text",))
CATS, DOGS, FISH = (ComponentKey("head", (name,)) for name in ("cats", "dogs", "fish"))


def method(**params: float) -> FedHca2:
    return FedHca2(FedHca2Params(**params))


def update(**values: list[float]) -> Update:
    """Return an update with the body as given, and heads where they are."""
    keys = {"body": BODY, "other": OTHER, "cats": CATS, "dogs": DOGS}
    state = ComponentState({keys[name]: {"out.weight": torch.tensor(value)} for name, value in values.items()})
    return Update(state, dict.fromkeys(state, 5))


def start(*keys: ComponentKey, size: int = 2) -> ServerState:
    return ServerState(ComponentState({key: {"out.weight": torch.zeros(size)} for key in keys}))


def body(state: ServerState, client: str, key: ComponentKey = BODY) -> list[float]:
    return state.slice_for(client, frozenset([key]))[key]["out.weight"].tolist()


def test_attention_by_hand() -> None:
    a, b = [1.0, 0.0, 2.0, 0.0], [0.0, 2.0, 1.0, 0.0]
    aa, ab, bb = math.exp(5 / 2), math.exp(2 / 2), math.exp(5 / 2)  # inner products over the root of d = 4
    out = cross_attention(torch.tensor([a, b]))
    expected = [
        [(aa * x + ab * y) / (aa + ab) for x, y in zip(a, b, strict=True)],
        [(ab * x + bb * y) / (ab + bb) for x, y in zip(a, b, strict=True)],
    ]
    torch.testing.assert_close(out, torch.tensor(expected))
    assert out.dtype == torch.float32


def test_opposite_encoders_are_moved_by_the_conflict_averse_mean() -> None:
    server = start(BODY)
    after = method(weight=0.5).aggregate(server, {"a": update(body=[2.0, 0.0]), "b": update(body=[-1.0, 0.0])})
    # the mean is 0.5, U = (1 - 0.4) 0.5 = 0.3, each takes half of it
    assert body(after, "a") == pytest.approx([2.15, 0.0])
    assert body(after, "b") == pytest.approx([-0.85, 0.0])
    assert after.facts["hyper"] == {"a": {"encoder": 0.5}, "b": {"encoder": 0.5}}
    # who never took part gets the mean of the two models
    assert body(after, "newcomer") == pytest.approx([0.65, 0.0])
    assert after.kept["a"][BODY]["out.weight"].tolist() == pytest.approx([0.3, 0.0])


def test_updates_are_measured_from_what_each_client_was_sent() -> None:
    base = start(BODY)
    server = ServerState(base.components, {"a": ComponentState({BODY: {"out.weight": torch.tensor([10.0, 0.0])}})})
    after = method(weight=1.0, c=0.0).aggregate(server, {"a": update(body=[12.0, 0.0]), "b": update(body=[0.0, 4.0])})
    assert body(after, "a") == pytest.approx([13.0, 2.0])  # the mean update is (1, 2)
    assert body(after, "b") == pytest.approx([1.0, 6.0])


def test_heads_attend_to_heads_of_all_tasks_and_their_own_weights_are_theirs() -> None:
    moved = {"a": update(cats=[1.0, 0.0], dogs=[0.0, 1.0]), "b": update(dogs=[2.0, 0.0])}
    after = method(weight=0.5).aggregate(start(CATS, DOGS), moved)
    seen = cross_attention(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]]))  # a's cats, a's dogs, b's dogs
    for client, key, own, row in (("a", CATS, [1.0, 0.0], 0), ("a", DOGS, [0.0, 1.0], 1), ("b", DOGS, [2.0, 0.0], 2)):
        expected = torch.tensor(own) + 0.5 * seen[row]
        assert body(after, client, key) == pytest.approx(expected.tolist())
    assert after.facts["hyper"]["a"] == {"head/cats": 0.5, "head/dogs": 0.5}


def test_only_layers_of_the_same_name_and_shape_attend_and_a_layer_is_all_its_tensors() -> None:
    def heads(first: float, classes: int) -> dict[str, torch.Tensor]:
        return {
            "hidden.weight": torch.full((2, 2), first),
            "hidden.bias": torch.full((2,), 2 * first),
            "linear.weight": torch.full((classes, 2), 9.0),
        }

    server = ServerState(
        ComponentState(
            {
                CATS: {name: torch.zeros_like(t) for name, t in heads(0.0, 3).items()},
                FISH: {name: torch.zeros_like(t) for name, t in heads(0.0, 4).items()},
            }
        )
    )
    states = {"a": ComponentState({CATS: heads(1.0, 3)}), "b": ComponentState({FISH: heads(-1.0, 4)})}
    after = method(weight=1.0).aggregate(
        server, {client: Update(state, dict.fromkeys(state, 1)) for client, state in states.items()}
    )
    # a layer of six scalars: |delta|^2 = 4 + 2 * 4 = 12, and the other's is its opposite
    score = 12 / 6**0.5
    mixed = (math.exp(score) - math.exp(-score)) / (math.exp(score) + math.exp(-score))
    mine = after.tailored["a"][CATS]
    torch.testing.assert_close(mine["hidden.weight"], torch.full((2, 2), 1 + mixed))
    torch.testing.assert_close(mine["hidden.bias"], torch.full((2,), 2 + 2 * mixed))
    assert torch.equal(mine["linear.weight"], torch.full((3, 2), 9.0))  # nobody has a layer like it
    assert set(after.kept["a"][CATS]) == {"hidden.weight", "hidden.bias"}


def test_who_holds_a_component_alone_keeps_what_it_trained() -> None:
    server = start(BODY, OTHER, CATS)
    after = method(weight=1.0).aggregate(
        server, {"a": update(body=[1.0, 0.0], other=[3.0, 3.0], cats=[4.0, 4.0]), "b": update(body=[1.0, 0.0])}
    )
    assert body(after, "a", OTHER) == [3.0, 3.0]
    assert body(after, "a", CATS) == [4.0, 4.0]
    assert body(after, "a") == pytest.approx([2.4, 0.0])  # equal updates: U = (1 + c) of them


def test_only_the_sampled_clients_models_move() -> None:
    first = method().aggregate(start(BODY), {c: update(body=[float(i + 1), 1.0]) for i, c in enumerate("abc")})
    second = method().aggregate(first, {"b": update(body=[5.0, 5.0]), "c": update(body=[6.0, 1.0])})
    assert second.tailored["a"].equal(first.tailored["a"])
    assert second.kept["a"].equal(first.kept["a"])
    assert second.facts["hyper"]["a"] == first.facts["hyper"]["a"]
    assert not second.tailored["b"].equal(first.tailored["b"])


@pytest.mark.parametrize(
    ("moves", "cosine"), [([3.0, 0.0], 1.0), ([-0.1, 0.0], -1.0), ([1.0, 1.0], 0.5**0.5), ([0.0, 7.0], 0.0)]
)
def test_a_hyper_weight_grows_where_the_next_update_goes_on_in_the_aggregates_direction(
    moves: list[float], cosine: float
) -> None:
    rule = method(weight=0.2, hyper_rate=0.1)
    first = rule.aggregate(start(BODY), {"a": update(body=[1.0, 0.0]), "b": update(body=[1.0, 0.0])})
    sent = body(first, "a")
    going_on = [sent[0] + moves[0], sent[1] + moves[1]]
    second = rule.aggregate(first, {"a": update(body=going_on)})
    assert second.facts["hyper"]["a"]["encoder"] == pytest.approx(0.2 + 0.1 * cosine, abs=1e-6)
    assert second.facts["hyper"]["b"]["encoder"] == 0.2


def test_hyper_weights_stay_within_zero_and_one() -> None:
    for weight, moves, expected in ((0.9, 1.0, 1.0), (0.1, -1.0, 0.0)):
        rule = method(weight=weight, hyper_rate=0.5)
        first = rule.aggregate(start(BODY), {"a": update(body=[1.0, 0.0]), "b": update(body=[1.0, 0.0])})
        second = rule.aggregate(first, {"a": update(body=[body(first, "a")[0] + moves, 0.0])})
        assert second.facts["hyper"]["a"]["encoder"] == expected


def test_with_hyper_weights_of_zero_each_client_trains_alone_bit_for_bit() -> None:
    rule, client = method(weight=0.0, hyper_rate=0.0), local_client((DIGITS, MOOD))
    local = make({}, "local")
    beginning = client.initial_state()
    server, alone = ServerState(beginning), local.start(client)
    for _ in range(2):
        received = server.slice_for("c", client.plan)
        mine, _ = rule.local_round(client, received, rule.start(client))
        theirs = Update(jittered(beginning, seed=3), dict.fromkeys(beginning, 4))
        server = rule.aggregate(server, {"c": mine, "other": theirs})
        _, alone = local.local_round(client, ComponentState(), alone)
    assert server.slice_for("c", client.plan).equal(alone.models["personal"])
    assert not server.components.equal(alone.models["personal"])


def test_what_the_server_was_given_is_left_as_it_was() -> None:
    server = method().aggregate(start(BODY), {"a": update(body=[1.0, 0.0]), "b": update(body=[0.0, 1.0])})
    kept, facts = server.tailored["a"].clone(), str(server.facts)
    method().aggregate(server, {"a": update(body=[4.0, 0.0]), "b": update(body=[0.0, 2.0])})
    assert server.tailored["a"].equal(kept)
    assert str(server.facts) == facts
