"""DisentAFL with the finish: the round is the one's, the end the other's."""

from fedtap.algorithms.base import ClientState
from fedtap.algorithms.registry import make
from tiny import DIGITS, MOOD, jittered, local_client

PAIRS = (DIGITS, MOOD)


def test_its_round_is_that_of_disentafl() -> None:
    received = jittered(local_client(PAIRS).initial_state())
    ours, disentafl, fedavg = (
        make({}, method).local_round(local_client(PAIRS), received, ClientState())[0]
        for method in ("disentafl_ft", "disentafl", "fedavg_ft")
    )
    assert ours.components.equal(disentafl.components)
    assert not ours.components.equal(fedavg.components)


def test_its_finish_is_that_of_fedavg_ft() -> None:
    received = jittered(local_client(PAIRS).initial_state(), scale=0.1)
    ours, theirs = (
        make({}, method).personalise(local_client(PAIRS), received, ClientState())
        for method in ("disentafl_ft", "fedavg_ft")
    )
    assert ours.models["finetuned"].equal(theirs.models["finetuned"])
    assert not ours.models["finetuned"].equal(received)
    assert ours.facts == theirs.facts
    assert set(make({}, "disentafl_ft").models(received, ours)) == {"federated", "finetuned"}


def test_the_weight_of_the_term_is_its_parameter_too() -> None:
    received = jittered(local_client(PAIRS).initial_state())
    without = make({"name": "disentafl_ft", "disentangle": 0})
    fedavg = make({}, "fedavg")
    sent = [m.local_round(local_client(PAIRS), received, ClientState())[0].components for m in (without, fedavg)]
    assert sent[0].equal(sent[1])
