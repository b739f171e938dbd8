"""FedDPA-F: rounds that are FedAvg's with one adapter, then a local one whose share is an input's mean cosine, by hand."""

import pytest
import torch

from fedtap.algorithms.base import ClientState
from fedtap.algorithms.dual import as_own, as_shared, is_gate, is_own, is_shared
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.pairs import ComponentKey
from fedtap.training.client import LocalClient
from tiny import DIGITS, MOOD, build_network, jittered, local_client

PAIRS = (DIGITS, MOOD)
TRAINING = {"finetune_steps": 3, "finetune_lr": 0.01, "select_every": 1, "lr": 0.01, "warmup_rounds": 1}


def client(adaptation: str = "dual_near", *, round_number: int = 1, name: str = "plain") -> LocalClient:
    network = build_network(PAIRS, adaptation=adaptation, name=name)
    return local_client(PAIRS, network=network, round=round_number, training=TRAINING)


def in_one_adapter(state: ComponentState, like: ComponentState) -> ComponentState:
    """Return a model with shared adapters as the model with one adapter that it is where its gates are shut."""
    return state.overlay(as_own(state)).select(lambda key, name: name in like[key])


def test_a_round_is_fedavgs_with_the_shared_adapter_alone() -> None:
    method, dual, lora = make({"name": "feddpa_f"}), client(), client("lora")
    received = jittered(dual.initial_state(), scale=0.05).select(method.travels)
    like = lora.initial_state()
    update, state = method.local_round(dual, received, method.start(dual))
    expected = lora.train(in_one_adapter(received, like), 4, "federated")
    for key, name, tensor in in_one_adapter(update.components, like).tensors():
        torch.testing.assert_close(tensor, expected.state[key][name], atol=1e-5, rtol=1e-4)
    assert update.losses == pytest.approx(expected.losses, rel=1e-5)
    assert not any(is_own(key, name) or is_gate(key, name) for key, name, _ in update.components.tensors())
    assert state.models["home"].equal(dual.initial_state().select(method.stays))


def test_after_the_rounds_a_local_adapter_is_tuned_from_the_global_one_in_the_mixture() -> None:
    method, at_work, other = make({"name": "feddpa_f", "scale": 0.8}), client(), client()
    received = jittered(at_work.initial_state(), scale=0.05).select(method.travels)
    done = method.personalise(at_work, received, method.start(at_work))
    personal = done.models["personal"]
    assert personal.select(is_shared).equal(received.select(is_shared))
    assert not as_shared(personal).equal(received.select(is_shared))
    # by hand: the directions of the batches' examples, in the model as it was received
    network = other.network
    network.load(personal.overlay(received).overlay(as_own(received)))
    network.eval()
    seen: dict[str, list[torch.Tensor]] = {"digits": [], "mood": []}
    with torch.no_grad():
        for batch in other.batches(4, "similarity"):
            for part, out in zip(batch, network(batch), strict=True):
                seen[part.pair.task] += [each / each.norm() for each in out.streams[0].direction]
    centre = 0.8 * torch.stack([*seen["digits"], *seen["mood"]]).mean(dim=0)
    trunk = ComponentKey("attention", ("mote", "shared"))
    torch.testing.assert_close(personal[trunk]["gate_w"][0], centre, atol=1e-6, rtol=0)
    assert not personal[trunk]["gate_b"].any()
    start = personal.overlay(received).overlay(as_own(received))
    tuned = other.finetune(
        start, 3, "finish", only=lambda key, name: not is_shared(key, name) and not is_gate(key, name)
    )
    assert tuned.state.equal(personal)
    assert done.facts == {"finetune_steps_kept": tuned.kept_steps}
    assert at_work.steps_taken == 3


def test_a_domain_component_knows_the_examples_whose_path_it_is_on_alone() -> None:
    method, at_work = make({"name": "feddpa_f", "scale": 1}), client(name="experts")
    received = at_work.initial_state().select(method.travels)
    personal = method.personalise(at_work, received, method.start(at_work)).models["personal"]
    image, text, both = (
        personal[ComponentKey("attention", ("mote", name))]["gate_w"][0] for name in ("image", "text", "shared")
    )
    assert float(image.norm()) <= 1.0
    assert not torch.allclose(image, text, atol=1e-3)
    draws = list(at_work.batches(4, "similarity"))
    counts = [sum(len(part) for batch in draws for part in batch if part.pair == pair) for pair in PAIRS]
    mixed = (counts[0] * image + counts[1] * text) / sum(counts)
    torch.testing.assert_close(both, mixed, atol=1e-5, rtol=0)


def test_the_global_model_is_the_shared_adapter_whatever_the_gate() -> None:
    method, at_work, lora = make({"name": "feddpa_f"}), client(), client("lora")
    received = jittered(at_work.initial_state(), scale=0.05).select(method.travels)
    state = method.personalise(at_work, received, method.start(at_work))
    wanted = lora.mean_losses(in_one_adapter(received, lora.initial_state()))
    for held in (state, method.start(at_work)):
        federated = method.models(received, held)["federated"]
        assert isinstance(federated, ComponentState)
        assert at_work.mean_losses(federated) == pytest.approx(wanted, rel=1e-5)
    assert method.models(received, state).keys() == method.model_names


@pytest.mark.parametrize("given", ["full", "lora", "colora", "dual"])
def test_whatever_the_scenario_trains_becomes_two_adapters(given: str) -> None:
    assert make({"name": "feddpa_f"}).adaptations[given] == "dual_near"
    others = {make({"name": name}).adaptations.get(given, given) for name in ("fedalt", "flow")}
    assert others == {"dual"}


def test_a_scale_beyond_one_is_refused() -> None:
    with pytest.raises(Exception, match="scale"):
        make({"name": "feddpa_f", "scale": 1.5})


def test_names_of_own_and_shared_adapters_are_each_others_mirror() -> None:
    state = jittered(client().initial_state())
    assert as_shared(as_own(state)).equal(state.select(is_shared))
    assert as_own(as_shared(state)).equal(state.select(is_own))
    towers = ComponentState({ComponentKey("encoder", ("image",)): {"layer00_query_A": torch.zeros(2, 2)}})
    assert len(towers.select(is_own)) == 0
    assert ClientState().models == {}
