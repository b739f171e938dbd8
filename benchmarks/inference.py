"""Can one tell from a model what it was trained on? Membership inference against uploaded and personal models.

    python benchmarks/inference.py

The attack is the loss threshold of Yeom et al. 2018 (arXiv 1709.01604): an example with a small loss was trained on. Of each site
the model that it uploaded in the last round and its personal model are attacked, with its training examples against its test
examples; the area under the curve (AUC) is 50 % where the attack learns nothing, but for chance. The untrained model checks the
attack: its start gives all examples of a class one loss, so its AUC is 50 % exactly.
``local`` noise is DP-SGD of what is uploaded, ``central`` noise is the server's. Noise is seeded, so that the figures can be had
again; epsilon is that of secret noise. Writes ``benchmarks/results/inference.json`` and ``inference.md``.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from five_sites import Finished, federate, scenario, spread, write
from sklearn.metrics import roc_auc_score

from fedtap.components import ComponentState
from fedtap.federation.messages import ClientCard, Failure, Reply, Request
from fedtap.federation.transport import Transport

SEEDS = tuple(range(6))
CASES: dict[str, dict[str, Any]] = {
    "no noise": {},
    "local, z = 0.5": {"local": {"clip": 1.0, "noise": 0.5}},
    "local, z = 1": {"local": {"clip": 1.0, "noise": 1.0}},
    "local, z = 2": {"local": {"clip": 1.0, "noise": 2.0}},
    "central, z = 0.1": {"central": {"clip": 1.0, "noise": 0.1}},
    "central, z = 1": {"central": {"clip": 1.0, "noise": 1.0}},
}


class Listener:
    """A transport that keeps what each client sent last."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.heard: dict[str, ComponentState] = {}

    def clients(self) -> Sequence[ClientCard]:
        return self._inner.clients()

    def exchange(self, requests: Sequence[Request], *, timeout: float | None = None) -> Iterator[Reply | Failure]:
        for answer in self._inner.exchange(requests, timeout=timeout):
            if isinstance(answer, Reply):
                self.heard[answer.client] = answer.update.components
            yield answer


def auc(done: Finished, client: str, model: ComponentState) -> float:
    """Return the mean over a client's tasks of the attack's AUC, in percent."""
    at_work = done.simulation.site.local(client, done.simulation.scenario.rounds + 1)
    members, others = (at_work.example_losses(model, split) for split in ("train", "test"))
    areas = []
    for task in at_work.tasks:
        scores = -torch.cat([members[task], others[task]]).numpy()
        areas.append(roc_auc_score([1] * len(members[task]) + [0] * len(others[task]), scores))
    return 100 * statistics.fmean(areas)


def attacked(case: str, seed: int) -> dict[str, Any]:
    """Return quality, epsilon and the attack's success of one run."""
    listeners: list[Listener] = []

    def wrap(inner: Transport) -> Transport:
        listeners.append(Listener(inner))
        return listeners[-1]

    def look(done: Finished) -> dict[str, float]:
        areas: dict[str, list[float]] = {"start": [], "uploaded": [], "federated": [], "personal": []}
        for client, uploaded in listeners[0].heard.items():
            models = done.simulation.site.models(client, done.server.slice_for(client))
            areas["start"].append(auc(done, client, done.simulation.start.components.slice(uploaded)))
            areas["uploaded"].append(auc(done, client, uploaded))
            areas["federated"].append(auc(done, client, models["federated"]))
            areas["personal"].append(auc(done, client, models["personal"]))
        return {f"auc_{name}": statistics.fmean(values) for name, values in areas.items()}

    done = federate(scenario(privacy={**CASES[case], "noise_source": "seeded"}), seed, wrap=wrap, look=look)
    kinds = [kind for kind in ("local", "central") if done.privacy and kind in done.privacy]
    epsilon = max(done.privacy[kinds[0]]["epsilon"].values()) if done.privacy and kinds else None
    quality = {model: done.accuracy(model) for model in ("federated", "personal")}
    return {"seed": seed, "case": case, "epsilon": epsilon, **quality, **done.kept}


def main() -> None:
    """Attack every case with every seed."""
    rows: list[dict[str, Any]] = []
    for seed in SEEDS:
        for case in CASES:
            rows.append(attacked(case, seed))
            print(rows[-1], flush=True)
        report(rows)


def report(rows: list[dict[str, Any]]) -> None:
    """Write what has been measured so far."""
    models = [f"AUC, {model}" for model in ("untrained", "uploaded", "federated", "personal")]
    heads = ["noise", "ε (δ = 1e-5)", *models, "accuracy, federated", "accuracy, personal"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    keys = ("auc_start", "auc_uploaded", "auc_federated", "auc_personal", "federated", "personal")
    for case in CASES:
        mine = [row for row in rows if row["case"] == case]
        epsilon = "none" if mine[0]["epsilon"] is None else f"{max(row['epsilon'] for row in mine):.1f}"
        lines.append(f"| {case} | {epsilon} | {' | '.join(spread([row[key] for row in mine]) for key in keys)} |")
    write("inference", rows, "\n".join(lines))


if __name__ == "__main__":
    main()
