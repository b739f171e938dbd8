"""What a holder weighs in a mean, through the server: the example of docs/theory.md, "Weights by examples".

Two clients have 100 examples each of a task, with the optima 0 and 1 and one curvature. The second has 300 of another task too,
so that a quarter of each of its batches is about the first, and so is a quarter of its gradient.
"""

from typing import Any

import pytest
import torch

from builders import MOOD, ToyArchitecture, ToyMethod
from fedtap.algorithms.base import ServerState, Update
from fedtap.components import ComponentKey, ComponentState
from fedtap.experiment.convergence import convergence_plan
from fedtap.federation.messages import ClientCard, Reply
from fedtap.federation.server import Server
from fedtap.pairs import Pair, path
from fedtap.runtime.errors import UserError
from fedtap.scenario.safety import Safety
from fedtap.scenario.scenario import load_scenario
from tiny_federation import write_scenario

OTHER = Pair("other", "classification", "text", "letters")
CARDS = (
    ClientCard("one", (MOOD,), {"mood": 100}),
    ClientCard("two", (MOOD, OTHER), {"mood": 100, "other": 300}),
)
DOMAIN = ComponentKey("domain", ("news",))
"""Of the first task alone: both clients hold it, and two's other task does not use it."""
RATE, STEPS, ROUNDS = 0.01, 3, 1500


def rests_at(weights: str) -> float:
    """Return where plain SGD leaves the component on which the two disagree."""
    state = ServerState(ComponentState({DOMAIN: {"weight": torch.full((1,), 0.9, dtype=torch.float64)}}))
    server = Server(
        algorithm=ToyMethod(),
        architecture=ToyArchitecture(),
        state=state,
        cards=CARDS,
        safety=Safety(weights=weights),  # type: ignore[arg-type]
    )
    assert DOMAIN not in path(CARDS[1].pairs, "other")
    for number in range(1, ROUNDS + 1):
        replies = []
        for card, optimum, share in zip(CARDS, (0.0, 1.0), (1.0, 0.25), strict=True):
            w = server.components[DOMAIN]["weight"].clone()
            for _ in range(STEPS):
                w -= RATE * share * (w - optimum)
            update = Update(ComponentState({DOMAIN: {"weight": w}}), {DOMAIN: card.examples["mood"]})
            replies.append(Reply(card.id, number, update, seconds=0.0, steps=STEPS))
        server.state = with_slices(server, replies)
    return float(server.components[DOMAIN]["weight"])


def with_slices(server: Server, replies: list[Reply]) -> ServerState:
    server._exact_slice = lambda client: server.components  # type: ignore[method-assign]  # the only component there is
    server.aggregate(replies)
    return server.state


@pytest.mark.parametrize(("weights", "where"), [("component", 0.2), ("client", 0.5), ("uniform", 0.2)])
def test_the_example(weights: str, where: float) -> None:
    """100 to 100 and 1 to 1 rest at 0.2; 100 to 400 at 0.5, the optimum of the 200 examples."""
    assert rests_at(weights) == pytest.approx(where, abs=0.01)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("defence.mean=median", "defence.mean=median counts every holder alike"),
        ("privacy.central={}", "privacy.central counts every client alike"),
        ("privacy.secure={}", "privacy.secure masks components with their own weights"),
    ],
)
def test_weights_that_would_do_nothing_are_refused(tmp_path: Any, more: str, why: str) -> None:
    scenario = write_scenario(tmp_path)
    with pytest.raises(UserError, match=f"{why}, so weights=client would do nothing; remove one of the two"):
        load_scenario(scenario, [more, "weights=client"])
    assert load_scenario(scenario, [more]).safety.weights == "component"
    with pytest.raises(UserError, match=f"{why}, so that what sampling=coverage draws more often would weigh more"):
        load_scenario(scenario, [more, "sampling=coverage"])
    assert load_scenario(scenario, [more, "sampling=uniform"]).safety.sampling == "uniform"
    assert load_scenario(scenario, ["weights=client"]).safety.weights == "client"


def test_a_method_may_have_weights_of_its_own(tmp_path: Any) -> None:
    """Tap refines its weight by task family: a mapping is the method's, a word the scenario's."""
    scenario = load_scenario(write_scenario(tmp_path), ["weights={text_classification: 2}", "weights=uniform"])
    assert scenario.weights == "uniform"
    assert scenario.method["weights"] == {"text_classification": 2}
    with pytest.raises(UserError, match="'weights': Input should be 'component', 'client' or 'uniform'"):
        load_scenario(write_scenario(tmp_path), ["weights=clients"])


def test_the_plan_goes_by_them(tmp_path: Any) -> None:
    """With one weight for all of a client's components, and all clients in every round, there is no floor."""
    scenario = write_scenario(tmp_path)
    floors = {
        weights: max(
            part.floor
            for part in convergence_plan(
                load_scenario(scenario, [f"weights={weights}", "clients_per_round=4"])
            ).components
        )
        for weights in ("component", "client", "uniform")
    }
    assert floors["client"] == pytest.approx(0, abs=1e-9)
    assert floors["component"] > 0.1
    assert floors["uniform"] > 0.1
