"""One round of TAP by hand: two clients, what each holds, what is sent, what is adopted, what stays. Read it from top to bottom.

    python examples/one_round.py

It needs what `pip install -e ".[quickstart]"` brings and takes some seconds. In the end it compares with what the library does
for the same round: `Tap.local_round` at the clients and `Server.aggregate` at the server. docs/tour.md walks through it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from fedtap.algorithms.registry import make
from fedtap.components import ComponentKey, weighted_mean
from fedtap.experiment.setup import set_up
from fedtap.federation.server import Server
from fedtap.federation.store import ClientStore
from fedtap.personalization.gates import margin_gate
from fedtap.scenario.scenario import build_scenario

DIGITS = {"name": "digits", "type": "classification", "modality": "image", "domain": "scans", "source": "digits"}
REVIEWS = {"name": "reviews", "type": "classification", "modality": "text", "domain": "films", "source": "sentiment"}
STEPS, MARGIN = 10, 0.01
FEDERATION = {
    "name": "one-round",
    "rounds": 2,
    "clients_per_round": 2,
    "local_steps": 2 * STEPS,  # TAP gives one half of them to W, the other to X
    "backbone": {"vision": "untrained-tiny", "text": "untrained-tiny"},
    "network": {"dim": 32, "heads": 2, "expert_dim": 32, "domain_dim": 8},
    "training": {"lr": 0.01, "warmup_rounds": 0},
    "data": {"train": 64, "validation": 16, "test": 16},
    "method": {"name": "tap", "margin": MARGIN},
    "clients": [{"id": "clinic", "tasks": [DIGITS, REVIEWS]}, {"id": "school", "tasks": [DIGITS]}],
}


def main(folder: Path) -> None:
    """Let the library do a first round, then do the second by hand."""
    scenario = build_scenario(FEDERATION, place="FEDERATION", folder=folder)
    tap, store = make(scenario.method), ClientStore(folder / "states")
    run = set_up(scenario, tap, seed=0, device="cpu", store=store, tell=lambda event: None)
    architecture = run.network.architecture
    server = Server(algorithm=tap, architecture=architecture, state=run.start, cards=run.cards)

    print("Who takes part, and which components of the server's each holds")
    plans = {card.id: architecture.plan(card.pairs) for card in run.cards}
    for card in run.cards:
        pairs = ", ".join(f"({pair.modality}, {pair.task})" for pair in card.pairs)
        print(f"  {card.id}: pairs {pairs}; {len(plans[card.id])} of {len(server.components)} components, "
              f"{server.slice_for(card.id).nbytes} of {server.components.nbytes} bytes")  # fmt: skip
    path = architecture.path(run.cards[0].pairs, "digits")
    print("  the path of digits at the clinic:", *list(map(str, sorted(path)))[:4], "... and", len(path) - 4, "more")

    print("Round 1, by the library: every client gets its personal model X and the losses that it reached")
    server.aggregate([run.site.answer(server.request(card.id, 1)) for card in run.cards])

    updates, kept = [], {}
    for card in run.cards:
        print(f"Round 2 at the {card.id}")
        state = store.load(card.id, before=2)
        assert state is not None
        client = run.site.local(card.id, 2)

        received = server.slice_for(card.id)
        federated = client.train(received, STEPS, "federated")  # W: E steps on the client's data
        print("  W, the federated model, trained:", shown(federated.losses))

        personal, adopted = state.models["personal"], False
        for task, reached in state.facts["personal_losses"].items():  # X[c] <- W[c] on the path iff h_f + m < h_p
            opens = margin_gate(federated.losses[task], reached, MARGIN)
            print(
                f"  gate of {task}: {federated.losses[task]:.3f} + {MARGIN} < {reached:.3f}?", "yes" if opens else "no"
            )
            if opens:
                personal, adopted = personal.merge(federated.state.slice(client.path(task))), True

        draw = "personal" if adopted else "federated"  # another draw of the data if anything was adopted
        own = client.train(personal, STEPS, draw)  # X: E steps too; it is never sent
        print("  X, the personal model, trained: ", shown(own.losses))

        updates.append((federated.state, client.counts()))
        kept[card.id] = own.state
    print("The server's mean, component by component, over those that hold it")
    mean = weighted_mean(updates)
    for key in (ComponentKey("head", ("digits",)), ComponentKey("head", ("reviews",))):
        holders = {card.id: counts[key] for card, (_, counts) in zip(run.cards, updates, strict=True) if key in counts}
        parts = " + ".join(f"{n}/{sum(holders.values())} {client}" for client, n in holders.items())
        print(f"  {key} = {parts}")
    by_hand = server.components.merge(mean)  # what nobody holds stays as it is

    replies = [run.site.answer(server.request(card.id, 2)) for card in run.cards]
    server.aggregate(replies)
    same = by_hand.equal(server.components)
    for card in run.cards:
        stored = store.load(card.id, before=3)
        same &= stored is not None and stored.models["personal"].equal(kept[card.id])
    print("The library's round 2 gives the same models, bit for bit:", "yes" if same else "NO")


def shown(losses: Mapping[str, float]) -> str:
    """Return losses by task."""
    return ", ".join(f"{task} {loss:.3f}" for task, loss in losses.items())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
