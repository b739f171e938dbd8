"""The test examples of all participating clients, by what a model can be asked: what the cross-client test draws from.

They are gathered once, so that a client's draw costs what it draws and not a walk over everybody. Not here: encoding them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedtap.data.example import Example
from fedtap.data.partition import Partition
from fedtap.pairs import Pair
from fedtap.runtime.randomness import numpy_generator
from fedtap.scenario.clients import ClientSettings

Asked = tuple[str, str, str]
"""Head, type and modality: a model that has these of a task can be asked its examples, whatever their domain."""


class CrossExamples:
    """Draws for each client test examples of the others; no order of listing matters.

    Parameters
    ----------
    participants
        The clients whose test examples are asked.
    partition
        Who holds which examples.
    seed
        Of the run.
    """

    def __init__(self, participants: Sequence[ClientSettings], partition: Partition, seed: int) -> None:
        self._partition = partition
        self._seed = seed
        self._pools: dict[Asked, list[tuple[str, str, Example]]] = defaultdict(list)
        for client in sorted(participants, key=lambda client: client.id):
            for pair in sorted(client.pairs, key=lambda pair: pair.task):
                examples = partition[client.id][pair.task].test
                self._pools[_asked(pair)] += [(client.id, pair.domain, example) for example in examples]
        self._of_client: dict[Asked, dict[str, list[int]]] = {}
        self._of_key: dict[Asked, dict[str, list[int]]] = {}
        for asked, pool in self._pools.items():
            by_client, by_key = defaultdict(list), defaultdict(list)
            for place, (client_id, _, example) in enumerate(pool):
                by_client[client_id].append(place)
                by_key[example.key].append(place)
            self._of_client[asked], self._of_key[asked] = by_client, by_key

    def draw(self, client: str, pair: Pair, limit: int) -> dict[str, list[Example]]:
        """Return at most ``limit`` examples by domain, in sorted order of domains, the same for every method of a seed.

        None is the client's own, and none has the content of one that it holds in its own test split of the task.
        """
        pool = self._pools.get(_asked(pair), [])
        left_out = self._left_out(client, pair)
        order = numpy_generator(self._seed, "cross", client, pair.task).permutation(len(pool) - len(left_out))[:limit]
        places = np.sort(order)
        # The n-th of those that are left lies behind as many left-out ones as have fewer than n left before them.
        places = places + np.searchsorted(left_out - np.arange(len(left_out)), places, side="right")
        by_domain: dict[str, list[Example]] = {}
        for place in places.tolist():
            _, domain, example = pool[place]
            by_domain.setdefault(domain, []).append(example)
        return dict(sorted(by_domain.items()))

    def _left_out(self, client: str, pair: Pair) -> NDArray[np.int64]:
        """Return the places in the pool that a client is not asked, in order."""
        asked = _asked(pair)
        places = set(self._of_client.get(asked, {}).get(client, ()))
        of_key = self._of_key.get(asked, {})
        for example in self._partition[client][pair.task].test:
            places.update(of_key.get(example.key, ()))
        return np.array(sorted(places), dtype=np.int64)


def _asked(pair: Pair) -> Asked:
    return pair.head, pair.type, pair.modality
