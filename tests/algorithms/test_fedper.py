"""FedPer: a round by hand, and what leaves a client."""

from fedtap.algorithms.registry import make
from tiny import DIGITS, LAW, MOOD, local_client
from two_layers import STEPS, by_hand, difference, federate

BODY, HEAD = ("project", "scale", "shift"), ("head",)
TOGETHER = [("federated", STEPS, (*BODY, *HEAD))]


def test_two_rounds_are_those_worked_out_by_hand() -> None:
    federated = federate(make({}, "fedper"))
    assert difference(federated, by_hand(TOGETHER, home=HEAD)) < 1e-5
    # which tells it from training that freezes a part, or that starts the heads anew in each round
    for frozen in (BODY, HEAD):
        moving = set(BODY + HEAD) - set(frozen)
        assert difference(federated, by_hand([("federated", STEPS, moving)], home=HEAD)) > 1e-2
    assert difference(federated, by_hand(TOGETHER, home=HEAD, rounds=1)) > 1e-2


def test_heads_stay_and_everything_else_travels() -> None:
    client = local_client((DIGITS, MOOD, LAW))
    fedper = make({}, "fedper")
    start = client.initial_state()
    update, state = fedper.local_round(client, start.select(fedper.travels), fedper.start(client))
    heads = {key for key in client.plan if key.kind == "head"}
    assert {key.names for key in heads} == {("digits",), ("mood",), ("law",)}
    assert frozenset(update.components) == frozenset(update.counts) == client.plan - heads
    home = state.models["home"]
    assert frozenset(home) == heads
    assert all(home[key].keys() == start[key].keys() for key in heads)
