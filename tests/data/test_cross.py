"""Which examples of others a client's model is asked: what a walk over everybody would find, gathered once."""

from dataclasses import replace

import numpy as np
import pytest

from fedtap.data.cross import CrossExamples
from fedtap.data.example import Example
from fedtap.data.partition import Partition, TaskSplits
from fedtap.pairs import Pair
from fedtap.runtime.randomness import numpy_generator
from fedtap.scenario.clients import ClientSettings

Clients = tuple[ClientSettings, ...]
HEADS = ("digits", "digits", "mood")


def world(seed: int, clients: int = 9) -> tuple[Clients, Partition]:
    """Return clients with one to three tasks, some with a head in common, and test examples that some of them share."""
    draw = np.random.default_rng(seed)
    listed, shares = [], {}
    for number in draw.permutation(clients).tolist():
        tasks = [
            {
                "name": f"t{place}",
                "type": "classification",
                "modality": "image" if head == "digits" else "text",
                "domain": f"d{draw.integers(3)}",
                "source": "digits",
                "head": head,
            }
            for place, head in enumerate(HEADS)
            if draw.random() < 0.7
        ] or [{"name": "t0", "type": "classification", "modality": "text", "domain": "d0", "source": "digits"}]
        client = ClientSettings.model_validate(
            {"id": f"c{number}", "tasks": tasks, "unseen": bool(draw.random() < 0.2)}
        )
        listed.append(client)
        shares[client.id] = {
            task.name: TaskSplits(
                (),
                (),
                tuple(Example(f"text {k}", None, f"text {k}", 0) for k in draw.permutation(20)[: draw.integers(8)]),
            )
            for task in client.tasks
        }
    return tuple(listed), shares


def walked(
    clients: Clients, shares: Partition, client: str, pair: Pair, limit: int, seed: int
) -> dict[str, list[Example]]:
    """Return the same by its definition: over all others, one by one."""
    own = {example.key for example in shares[client][pair.task].test}
    pool = [
        (theirs.domain, example)
        for other in sorted(clients, key=lambda each: each.id)
        for theirs in sorted(other.pairs, key=lambda each: each.task)
        if other.id != client and (theirs.head, theirs.type, theirs.modality) == (pair.head, pair.type, pair.modality)
        for example in shares[other.id][theirs.task].test
        if example.key not in own
    ]
    found: dict[str, list[Example]] = {}
    for place in sorted(numpy_generator(seed, "cross", client, pair.task).permutation(len(pool))[:limit].tolist()):
        found.setdefault(pool[place][0], []).append(pool[place][1])
    return dict(sorted(found.items()))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("limit", [1, 5, 1000])
def test_what_is_drawn_is_what_a_walk_over_everybody_finds_in_the_same_order(seed: int, limit: int) -> None:
    clients, shares = world(seed)
    participants = tuple(client for client in clients if not client.unseen)
    cross = CrossExamples(participants, shares, seed)
    drawn = 0
    for client in clients:  # those held out are asked too
        for pair in client.pairs:
            found = cross.draw(client.id, pair, limit)
            expected = walked(participants, shares, client.id, pair, limit, seed)
            assert list(found) == list(expected)
            assert found == expected
            drawn += sum(map(len, found.values()))
    assert drawn


def test_the_pool_is_gathered_once_and_not_for_every_client(monkeypatch: pytest.MonkeyPatch) -> None:
    clients, shares = world(0)
    looked: list[str] = []

    class Counted(dict[str, dict[str, TaskSplits]]):
        def __getitem__(self, client: str) -> dict[str, TaskSplits]:
            looked.append(client)
            return super().__getitem__(client)

    cross = CrossExamples(clients, Counted(shares), 0)
    before = len(looked)
    pair = clients[0].pairs[0]
    cross.draw(clients[0].id, pair, 5)
    assert set(looked[before:]) == {clients[0].id}
    assert cross.draw(clients[0].id, replace(pair, head="nobody's"), 5) == {}
