"""LP-FT: the heads' steps, then everybody's, together those of every method's fine-tuning."""

import pytest

from fedtap.algorithms.base import ClientState
from fedtap.algorithms.registry import make
from fedtap.components import ComponentState
from fedtap.training.client import LocalClient
from tiny import DIGITS, MOOD, jittered, local_client

TRAINING = {"finetune_steps": 5, "finetune_lr": 0.01, "select_every": 1, "lr": 0.01}


def at_the_end() -> LocalClient:
    return local_client((DIGITS, MOOD), round=5, training=TRAINING)


def received_by(client: LocalClient) -> ComponentState:
    return jittered(client.initial_state(), scale=0.05)


@pytest.mark.parametrize(("share", "head_steps"), [(0.6, 3), (0.4, 2), (1.0, 5)])
def test_heads_are_tuned_on_frozen_features_and_then_everything_is(share: float, head_steps: int) -> None:
    client, other = at_the_end(), at_the_end()
    received = received_by(client)
    done = make({"name": "lp_ft", "head_share": share}).personalise(client, received, ClientState())
    heads = other.finetune(received, head_steps, "probe", only=lambda key, _: key.kind == "head")
    body = [key for key in received if key.kind != "head"]
    assert heads.state.slice(body).equal(received.slice(body))
    assert not heads.state.equal(received)
    whole = other.finetune(heads.state, 5 - head_steps, "finish")
    assert done.models["finetuned"].equal(whole.state)
    assert done.facts == {"finetune_steps_kept": heads.kept_steps + whole.kept_steps}
    assert client.steps_taken == 5


def test_without_a_heads_share_it_is_fedavg_with_fine_tuning() -> None:
    client, other = at_the_end(), at_the_end()
    received = received_by(client)
    mine = make({"name": "lp_ft", "head_share": 0}).personalise(client, received, ClientState())
    theirs = make({"name": "fedavg_ft"}).personalise(other, received, ClientState())
    assert mine.models["finetuned"].equal(theirs.models["finetuned"])
