"""FedRep: a round by hand, and how its steps are shared out."""

import pytest

from fedtap.algorithms.fedrep import FedRep
from fedtap.algorithms.registry import make
from fedtap.runtime.errors import UserError
from tiny import DIGITS, MOOD, jittered, local_client
from two_layers import STEPS, by_hand, difference, federate

BODY, HEAD = ("project", "scale", "shift"), ("head",)


def fedrep(**params: object) -> FedRep:
    method = make({"name": "fedrep", **params})
    assert isinstance(method, FedRep)
    return method


@pytest.mark.parametrize(("share", "head_steps"), [(0.5, 2), (0.2, 1), (0.8, 4)])
def test_two_rounds_are_those_worked_out_by_hand(share: float, head_steps: int) -> None:
    federated = federate(fedrep(head_share=share))
    head, body = ("head", head_steps, HEAD), ("federated", STEPS - head_steps, BODY)
    assert difference(federated, by_hand([head, body], home=HEAD)) < 1e-5
    # which tells it from the body first, from phases that freeze nothing, and from a head that the server averages
    together = [(purpose, steps, BODY + HEAD) for purpose, steps, _ in (head, body)]
    assert difference(federated, by_hand([body, head], home=HEAD)) > 1e-3
    assert difference(federated, by_hand(together, home=HEAD)) > 1e-3


def test_in_a_round_the_head_learns_on_the_received_body_and_the_body_under_that_head() -> None:
    client, other = (local_client((DIGITS, MOOD), local_steps=4) for _ in range(2))
    method = fedrep()
    start = jittered(client.initial_state(), scale=0.1)
    received, home = start.select(method.travels), method.start(client)
    whole = received.overlay(home.models["home"])
    update, state = method.local_round(client, received, home)
    head = other.train(whole, 2, "head", only=lambda key, _: key.kind == "head")
    assert head.state.select(method.travels).equal(received)
    body = other.train(head.state, 2, "federated", only=lambda key, _: key.kind != "head")
    assert state.models["home"].equal(head.state.select(method.stays))
    assert update.components.equal(body.state.select(method.travels))
    assert update.losses == body.losses


def test_both_phases_get_a_step_where_there_are_two_and_a_single_one_is_the_bodys() -> None:
    shares = {0.5: (5, 2, 1, 0), 0.9: (9, 3, 1, 0), 0.999: (9, 3, 1, 0), 0.001: (1, 1, 1, 0)}
    for share, expected in shares.items():
        assert tuple(fedrep(head_share=share).head_steps(steps) for steps in (10, 4, 2, 1)) == expected
    client = local_client((DIGITS,), local_steps=1)
    method = fedrep()
    home = method.start(client)
    update, state = method.local_round(client, client.initial_state().select(method.travels), home)
    assert client.steps_taken == 1
    assert state.models["home"].equal(home.models["home"])
    assert update.losses.keys() == {"digits"}


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_a_share_that_leaves_a_phase_without_steps_is_refused(share: float) -> None:
    with pytest.raises(UserError, match="method 'fedrep': 'head_share'"):
        fedrep(head_share=share)
