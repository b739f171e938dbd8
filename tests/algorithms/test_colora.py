"""Co-LoRA: the gated mix against autograd, mixtures by hand, and what travels."""

import math

import pytest
import torch

from fedtap.algorithms.base import ClientState, ServerState, Update
from fedtap.algorithms.colora import CoLora, CoLoraParams, mixtures
from fedtap.algorithms.registry import make
from fedtap.batch import batch_size
from fedtap.components import ComponentKey, ComponentState
from fedtap.experiment.planning import network_of
from fedtap.personalization.gated_mix import LIMIT, GatedMix, blend
from fedtap.tasks import TASK_TYPES
from fedtap.training.loop import Objective, batch_loss
from tiny import DIGITS, MOOD, build_network, jittered, local_client, mixed_batch, scenario_of

PAIRS = (DIGITS, MOOD)
BODY, TEXT = ComponentKey("shared"), ComponentKey("encoder", ("text",))


def method(**params: float) -> CoLora:
    return CoLora(CoLoraParams(**params))


def update(sketch: list[float] | None = None, **values: float) -> Update:
    """Return an update with one number per component, and a sketch if there is one."""
    keys = {"body": BODY, "text": TEXT}
    state = ComponentState({keys[name]: {"w": torch.tensor([value])} for name, value in values.items()})
    vectors = {} if sketch is None else {"relevance": torch.tensor(sketch)}
    return Update(state, dict.fromkeys(state, 5), vectors=vectors)


def server() -> ServerState:
    return ServerState(ComponentState({key: {"w": torch.zeros(1)} for key in (BODY, TEXT)}))


# --- the gated mix ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adaptation", ["full", "colora"])
def test_gradients_of_model_and_gates_are_those_of_the_mix(adaptation: str) -> None:
    network, batch = build_network(PAIRS, adaptation=adaptation), mixed_batch(PAIRS)
    own, frozen = (jittered(network.initial_state(), seed=seed) for seed in (1, 2))
    logits = {key: 0.1 * i - 0.5 for i, key in enumerate(own)}
    network.load(own)
    rule = GatedMix(frozen, logits, rate=0.7)
    rule(network, batch, Objective(lambda part: batch_loss(network, part)))
    assert network.state().equal(own)  # back in place, to the bit
    got = {(key, name): parameter.grad.clone() for key, name, parameter in network.named()}

    variables = {(key, name): torch.nn.Parameter(tensor.clone()) for key, name, tensor in own.tensors()}
    gates = {key: torch.tensor(logit, requires_grad=True) for key, logit in logits.items()}
    named = {id(p): where for where, p in (((key, name), p) for key, name, p in network.named())}
    values = {
        full: (1 - torch.sigmoid(gates[named[id(p)][0]])) * variables[named[id(p)]]
        + torch.sigmoid(gates[named[id(p)][0]]) * frozen[named[id(p)][0]][named[id(p)][1]]
        for full, p in network.named_parameters()
    }
    outputs = torch.func.functional_call(network, values, (batch,))
    loss = sum(
        TASK_TYPES[part.pair.type].losses(out.output, part.target, network.words).mean() * len(part) / batch_size(batch)
        for part, out in zip(batch, outputs, strict=True)
    )
    loss.backward()
    for where, variable in variables.items():
        torch.testing.assert_close(got[where], variable.grad, atol=1e-6, rtol=1e-3)
    for key, gate in gates.items():
        assert rule.logits[key] == pytest.approx(float(gate.detach() - 0.7 * gate.grad), abs=1e-5)


def test_a_fault_within_a_step_leaves_the_model_as_it_was() -> None:
    network = build_network(PAIRS)
    own, frozen = (jittered(network.initial_state(), seed=seed) for seed in (1, 2))
    network.load(own)

    def broken(_part: object) -> torch.Tensor:
        raise FloatingPointError("nan")

    with pytest.raises(FloatingPointError):
        GatedMix(frozen, {}, 1.0)(network, mixed_batch(PAIRS), Objective(broken))
    assert network.state().equal(own)


def test_gates_stop_at_their_limit_and_a_blend_is_what_they_say() -> None:
    network = build_network(PAIRS)
    own, frozen = (jittered(network.initial_state(), seed=seed) for seed in (1, 2))
    network.load(own)
    rule = GatedMix(frozen, {}, rate=1e9)
    rule(network, mixed_batch(PAIRS), Objective(lambda part: batch_loss(network, part)))
    assert {abs(logit) for logit in rule.logits.values()} == {LIMIT}
    one, two = (ComponentState({BODY: {"w": torch.tensor([v])}, TEXT: {"w": torch.tensor([v])}}) for v in (2.0, 4.0))
    mixed = blend(one, two, {BODY: math.log(3)})  # sigma = 3/4
    assert float(mixed[BODY]["w"]) == pytest.approx(3.5)
    assert float(mixed[TEXT]["w"]) == 3.0


# --- at the server ---------------------------------------------------------------------------------------------------------


def test_every_client_gets_a_mean_weighted_by_relevance() -> None:
    rule = method(temperature=0.5, sketch_size=2)
    after = rule.aggregate(server(), {"a": update([1.0, 0.0], body=1.0), "b": update([0.0, 2.0], body=5.0)})
    own, other = math.exp(2), 1.0  # cosines 1 and 0 at temperature 1/2
    for client, mine, theirs in (("a", 1.0, 5.0), ("b", 5.0, 1.0)):
        got = after.slice_for(client, frozenset([BODY]))[BODY]["w"]
        assert float(got) == pytest.approx((own * mine + other * theirs) / (own + other))
    assert float(after.components[BODY]["w"]) == 3.0  # for those who never took part


def test_clients_not_sampled_are_remembered_with_model_and_sketch() -> None:
    rule = method(temperature=1.0, sketch_size=2)
    first = rule.aggregate(server(), {"a": update([1.0, 0.0], body=1.0), "b": update([-1.0, 0.0], body=5.0)})
    second = rule.aggregate(first, {"a": update(None, body=2.0)})  # a sends no sketch any more
    weight = math.exp(1) / (math.exp(1) + math.exp(-1))
    for client, mine, theirs in (("a", 2.0, 5.0), ("b", 5.0, 2.0)):
        got = second.slice_for(client, frozenset([BODY]))[BODY]["w"]
        assert float(got) == pytest.approx(weight * mine + (1 - weight) * theirs)
    assert float(first.kept["a"][BODY]["w"]) == 1.0  # and the earlier state is as it was


def test_weights_are_over_those_who_hold_a_component() -> None:
    models = {
        "a": update(body=1.0, text=10.0).components,
        "b": update(body=2.0).components,
        "c": update(body=4.0, text=20.0).components,
    }
    weights = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.25, 0.5, 0.25]])
    mixed = mixtures(models, weights)
    assert float(mixed["a"][BODY]["w"]) == pytest.approx(0.5 * 1 + 0.3 * 2 + 0.2 * 4)
    assert float(mixed["a"][TEXT]["w"]) == pytest.approx((0.5 * 10 + 0.2 * 20) / 0.7)
    assert float(mixed["c"][TEXT]["w"]) == pytest.approx(15.0)
    assert set(mixed["b"]) == {BODY}


def test_a_sketch_of_another_size_is_no_sketch() -> None:
    rule = method(sketch_size=2)
    after = rule.aggregate(server(), {"a": update([1.0, 0.0, 3.0], body=1.0), "b": update([0.0, 1.0], body=3.0)})
    assert set(after.facts["sketches"]) == {"b"}
    assert float(after.slice_for("a", frozenset([BODY]))[BODY]["w"]) == pytest.approx(2.0)


# --- at the client ---------------------------------------------------------------------------------------------------------


def test_a_round_is_a_sketch_and_training_through_the_mix() -> None:
    client, rule = local_client(PAIRS), method(noise=0.0)
    received = jittered(client.initial_state(), seed=1, scale=0.05)
    local = jittered(client.initial_state(), seed=2, scale=0.05)
    sent, state = rule.local_round(client, received, ClientState({"local": local}))
    mix = GatedMix(received, {}, 1.0)
    expected = local_client(PAIRS).train(local, 3, "federated", gradient=mix)  # one of four steps went to the sketch
    assert sent.components.equal(expected.state)
    assert state.models["local"].equal(expected.state)
    assert state.facts["gates"] == {str(key): logit for key, logit in mix.logits.items()}
    assert sent.losses == expected.losses
    assert sent.vectors["relevance"].tolist() == state.facts["sketch"]
    assert float(sent.vectors["relevance"].norm()) == pytest.approx(1.0)


def test_sketches_are_averaged_noised_and_end() -> None:
    rule, state, sent = method(sketch_rounds=2, noise=0.3), ClientState(), []
    for number in (1, 2, 3):
        client = local_client(PAIRS, round=number)
        message, state = rule.local_round(client, client.initial_state(), state)
        sent.append(message.vectors)
        assert client.steps_taken == 4
        if number == 1:
            first = torch.tensor(state.facts["sketch"])
    assert [set(vectors) for vectors in sent] == [{"relevance"}, {"relevance"}, set()]
    assert state.facts["sketches"] == 2
    noise = sent[0]["relevance"] - first
    assert float(noise.norm()) == pytest.approx(0.3, rel=0.2)
    second = 2 * torch.tensor(state.facts["sketch"]) - first  # the mean of two: what the second one was
    assert float(second.norm()) == pytest.approx(1.0, rel=1e-4)


def test_with_one_local_step_it_goes_to_training() -> None:
    client = local_client(PAIRS, local_steps=1)
    sent, _ = method().local_round(client, client.initial_state(), ClientState())
    assert sent.vectors == {}
    assert client.steps_taken == 1
    assert not sent.components.equal(client.initial_state())


def test_what_is_deployed_is_the_finished_mix() -> None:
    client, rule = local_client(PAIRS), method()
    received, local = (jittered(client.initial_state(), seed=seed, scale=0.05) for seed in (1, 2))
    facts = {"gates": {str(key): 0.5 for key in local}}
    done = rule.personalise(client, received, ClientState({"local": local}, facts))
    s = 1 / (1 + math.exp(-0.5))
    mixed = local.zip(lambda mine, theirs: torch.lerp(mine, theirs, s), received)
    assert done.models["personal"].equal(local_client(PAIRS).finetune(mixed, 6, "finish").state)
    assert set(rule.models(received, ClientState({"local": local}))) == {"federated"}  # half a model is none


# --- what travels ----------------------------------------------------------------------------------------------------------


def test_lora_becomes_colora_and_of_the_adapters_only_small_factors_travel() -> None:
    rule = make({}, "colora")
    for given, brought in (("lora", "colora"), ("full", "full"), ("colora", "colora")):
        scenario = scenario_of({"c": PAIRS}, network={"dim": 16, "heads": 2, "lora_rank": 2, "adaptation": given})
        assert network_of(scenario, rule).adaptation == brought
        assert network_of(scenario, make({}, "fedavg")).adaptation == given
    client = local_client(PAIRS, network=build_network(PAIRS, adaptation="colora"))
    sent, _ = rule.local_round(client, client.initial_state().select(rule.travels), rule.start(client))
    adapters = [key for key in sent.components if key.kind in ("attention", "expert")]
    rank, matrices, layers = 2, 2, 1
    assert {sent.components.slice([key]).nbytes for key in adapters} == {4 * layers * matrices * (rank**2 + rank)}
    assert all(bool(tensor.any()) for key in adapters for tensor in sent.components[key].values())
