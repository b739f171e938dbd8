"""FedALA: how W is learned, by hand; which components it is for; what is left of the method without it."""

import pytest
import torch

from fedtap.algorithms.base import Algorithm, ClientState
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.pairs import ComponentKey
from fedtap.runtime.errors import UserError
from fedtap.training.client import LocalClient
from softmax_by_hand import Model, assert_same, each, gradient, model_of, probe_client, random_model, state_of
from tiny import DIGITS, LAW, MOOD, jittered, local_client

PAIRS = (DIGITS, MOOD, LAW)
FINISH = {"finetune_steps": 6, "finetune_lr": 0.02, "select_every": 1}


def fedala(**params: object) -> Algorithm:
    return make({"name": "fedala", **params})


def states(client: LocalClient) -> tuple[ComponentState, ComponentState]:
    """Return a received slice and a local model that differ everywhere."""
    return jittered(client.initial_state(), seed=1, scale=0.1), jittered(client.initial_state(), seed=2, scale=0.1)


def final_client(**settings: object) -> LocalClient:
    return local_client(PAIRS, round=5, training={**FINISH, **settings})


def start_of(own: Model, common: Model, weights: Model) -> Model:
    return each(lambda o, c, w: o + (c - o) * w, own, common, weights)


def test_two_rounds_by_hand() -> None:
    method = fedala(weight_steps=2, weight_rate=0.3)
    own = random_model(7)
    weights = each(lambda o: 0 * o + 1, own)
    state = ClientState({"local": state_of(own)})
    for number in (2, 3):
        common, client = random_model(number), probe_client(local_steps=5, round=number)
        update, state = method.local_round(client, state_of(common), state)
        batches = list(probe_client(round=number).batches(5, "federated"))
        for batch in batches[:2]:
            slopes = gradient(start_of(own, common, weights), batch)
            down = each(lambda g, c, o: g * (c - o), slopes, common, own)
            size = sum(d.size for d in down.values())
            length = (sum(float((d**2).sum()) for d in down.values()) / size) ** 0.5
            weights = each(lambda w, d, at=length: (w - 0.3 * d / at).clip(0, 1), weights, down)
        own = start_of(own, common, weights)
        for batch in batches[2:]:
            own = each(lambda o, g, rate=client.rate: o - rate * g, own, gradient(own, batch))
        assert client.steps_taken == 5
        assert_same(state.models["weights"], weights)
        assert_same(update.components, own)
        assert state.models["local"].equal(update.components)  # what is sent is what is kept
    flat = torch.cat([tensor.flatten() for _, _, tensor in state.models["weights"].tensors()])
    assert ((flat > 0) & (flat < 1)).any()


@pytest.mark.parametrize(
    ("upper", "expected"),
    [
        ("heads", {"head/digits", "head/mood"}),
        (
            "mome",
            {
                "head/digits",
                "head/mood",
                "attention/mome/shared",
                "attention/mome/image_classification",
                "attention/mome/text_classification",
                "expert/mome/shared/shared",
                "expert/mome/shared/image",
                "expert/mome/shared/text",
                "expert/mome/image_classification/shared",
                "expert/mome/image_classification/image",
                "expert/mome/text_classification/shared",
                "expert/mome/text_classification/text",
            },
        ),
        ("all", None),
    ],
)
def test_upper_components_are_mixed_and_lower_ones_overwritten(upper: str, expected: set[str] | None) -> None:
    client = local_client((DIGITS, MOOD), training={"finetune_steps": 0})  # with no finish the start is all there is
    received, own = states(client)
    keys = frozenset(received) if expected is None else frozenset(map(ComponentKey.parse, expected))
    draw = torch.Generator().manual_seed(0)
    weights = own.slice(keys).map(lambda tensor: torch.rand(tensor.shape, generator=draw))
    state = ClientState({"local": own, "weights": weights})
    start = fedala(upper=upper).personalise(client, received, state).models["personal"]
    lower = received.keys() - keys
    assert start.slice(lower).equal(received.slice(lower))
    for key, name, tensor in start.slice(keys).tensors():
        mine, theirs, weight = own[key][name], received[key][name], weights[key][name]
        torch.testing.assert_close(tensor, mine + (theirs - mine) * weight)
    assert client.steps_taken == 0


@pytest.mark.parametrize("first", [True, False])
def test_without_anything_learned_it_is_fedavg_with_fine_tuning_to_the_bit(first: bool) -> None:
    received, own = states(local_client(PAIRS))
    # at the first participation there is no own model; later none is asked for
    method, state = (fedala(), ClientState()) if first else (fedala(weight_steps=0), ClientState({"local": own}))
    update, after = method.local_round(local_client(PAIRS), received, state)
    plain, _ = make({}, "fedavg").local_round(local_client(PAIRS), received, ClientState())
    assert update.components.equal(plain.components)
    assert (update.losses, update.counts) == (plain.losses, plain.counts)
    assert after.models["local"].equal(update.components)
    done = method.personalise(final_client(), received, state)
    tuned = make({}, "fedavg_ft").personalise(final_client(), received, ClientState())
    assert done.models["personal"].equal(tuned.models["finetuned"])


@pytest.mark.parametrize(("steps", "given", "learning"), [(5, 2, 2), (5, 9, 4), (1, 3, 0)])
def test_learning_w_is_paid_for_with_local_steps(steps: int, given: int, learning: int) -> None:
    client = local_client(PAIRS, local_steps=steps)
    received, own = states(client)
    asked: list[object] = []
    gradient_at = client.gradient
    client.gradient = lambda *args: asked.append(args) or gradient_at(*args)  # type: ignore[method-assign]
    fedala(weight_steps=given).local_round(client, received, ClientState({"local": own}))
    assert (client.steps_taken, len(asked)) == (steps, learning)


def test_the_start_is_built_once_more_at_the_end_within_the_steps_of_the_finish() -> None:
    client, other = final_client(), final_client()
    received, own = states(client)
    done = fedala(upper="all").personalise(client, received, ClientState({"local": own}))
    start = fedala(upper="all").personalise(final_client(finetune_steps=0), received, ClientState({"local": own}))
    assert start.models["personal"].equal(received)  # no steps, no learning: W is still one everywhere
    assert client.steps_taken == 6
    assert not done.models["personal"].equal(other.finetune(received, 4, "finish").state)
    assert fedala().models(received, done).keys() == {"federated", "personal"}


def test_w_leans_to_the_model_that_knows_more() -> None:
    good = probe_client().train(state_of(random_model(1)), 60, "good").state
    bad = state_of(random_model(2, scale=1.0))

    def learned(own: ComponentState, received: ComponentState) -> Model:
        state = ClientState({"local": own})
        _, state = fedala(weight_steps=15).local_round(probe_client(local_steps=16), received, state)
        return model_of(state.models["weights"])

    def mean(model: Model) -> float:
        return sum(float(values.sum()) for values in model.values()) / sum(v.size for v in model.values())

    assert mean(learned(good, bad)) < mean(learned(bad, good))


def test_where_both_models_agree_w_stays() -> None:
    w = state_of(random_model(1))
    _, state = fedala().local_round(probe_client(), w, ClientState({"local": w}))
    assert state.models["weights"].equal(w.map(torch.ones_like))


def test_w_never_leaves() -> None:
    client = local_client(PAIRS)
    received, own = states(client)
    update, state = fedala().local_round(client, received, ClientState({"local": own}))
    assert not update.vectors
    assert frozenset(update.components) == client.plan
    kept = state.models["weights"]
    assert not any(update.components[key][name].equal(tensor) for key, name, tensor in kept.tensors())


@pytest.mark.parametrize(("key", "value"), [("upper", "head"), ("weight_steps", -1), ("weight_rate", -1)])
def test_values_that_make_no_sense_are_refused(key: str, value: object) -> None:
    with pytest.raises(UserError, match=f"method 'fedala': '{key}'"):
        fedala(**{key: value})
