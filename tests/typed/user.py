"""A user's file, as types see it: nothing of it is run. It is checked by mypy --strict and by pyright, as a user would."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fedtap

SETTINGS: dict[str, Any] = {"training": {"lr": 1e-4}, "method.distil": False}


def whole_run(folder: Path) -> float:
    """Run, look at the tables, ask a model."""
    result: fedtap.RunResult = fedtap.run(
        "quickstart", method="tap", seed=1, out=folder, overrides=SETTINGS, progress=False
    )
    rows: list[dict[str, Any]] = result["rows"]  # what it was before it had attributes
    plain: dict[str, Any] = result
    opened = fedtap.RunResult.open(folder)
    sentences: list[str] = opened.headline
    print(len(rows), len(plain), *sentences, opened.clients, opened.seed + 1, opened.method.upper())
    result.plot_losses().savefig(str(folder / "losses.png"))
    page: bytes = result.report.read_bytes()
    model: fedtap.PersonalModel = result.personal("c1")
    for example, output in model.predict_many(["warm and funny"], task="sentiment"):
        print(example.text, output["label"], len(page))
    return len(result.gains.query("beyond_noise")) / max(1, len(result.gains))


def many_runs(folder: Path) -> str:
    """Compare and sweep."""
    compared: fedtap.ComparisonResult = fedtap.compare(
        "quickstart", ["tap", "own.py"], seeds=(0, 1), out=folder / "compared", overrides={"rounds": 2}
    )
    swept: fedtap.SweepResult = fedtap.sweep(
        "quickstart", {"method.margin": [0.01, 0.1]}, out=folder / "swept", base="local"
    )
    first: fedtap.RunResult = compared.run("tap", seed=1)
    compared.plot_cost("seconds")
    return first.method + swept.run(swept.settings[0]).method + ", ".join(compared.summary + swept.summary)


def advised(folder: Path) -> str:
    """Ask which method to use."""
    found: fedtap.AdviceResult = fedtap.advise("quickstart", "local,fedavg_ft", seeds=(0, 1), budget=4, out=folder)
    again: fedtap.AdviceResult = fedtap.AdviceResult.open(folder)
    table = again.frame
    compared: fedtap.ComparisonResult = found.comparison
    return found.advice + found.method + str(len(table)) + str(compared.methods) + found.run(found.method).method


class OwnParams(fedtap.Params):
    """Parameters of one's own method."""

    keep: float = 0.5


class Own(fedtap.Algorithm):
    """A method of one's own, with nothing but what fedtap offers."""

    name = "own"
    summary = "a mean of what was received and what is one's own"
    source = "nobody"
    deployed = "personal"
    Params = OwnParams
    params: OwnParams

    def local_round(
        self, client: fedtap.LocalClient, received: fedtap.ComponentState, state: fedtap.ClientState
    ) -> tuple[fedtap.Update, fedtap.ClientState]:
        """Train, and keep a part of what was there before."""
        before = state.models.get("personal", received)
        mixed = received.zip(lambda new, old: self.params.keep * old + (1 - self.params.keep) * new, before)
        trained = client.train(mixed, client.scenario.local_steps, "federated")
        update = fedtap.Update(trained.state, client.counts(), trained.losses)
        return update, fedtap.ClientState({"personal": trained.state})

    def models(self, received: fedtap.ComponentState, state: fedtap.ClientState) -> Mapping[str, fedtap.ComponentState]:
        """Name the models."""
        return {"federated": received, "personal": state.models.get("personal", received)}


def known() -> type[Own]:
    """Make it known to this process."""
    return fedtap.register(Own)


def told(error: fedtap.UserError | fedtap.RunError) -> str:
    """Say what is wrong."""
    return str(error)
