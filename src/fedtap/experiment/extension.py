"""More rounds for a run that has ended: its folder becomes that of a longer one that was cut off after the old last round.

What was made after the last round (personal models, results, report) is taken away, since the longer run makes it anew; what the
rounds have made stays. run.json is written last: until then the folder is that of the old run, which can be extended again.
Not here: the rounds (run), which go on as after any interruption.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field

from fedtap.components import ComponentState
from fedtap.experiment.folder import RunFolder
from fedtap.experiment.provenance import hub_commits
from fedtap.experiment.same_run import new_clients, require_same_commits, require_same_run
from fedtap.federation.checkpoint import Checkpoint
from fedtap.federation.sampling import schedule
from fedtap.federation.words import MAX_ROUND, Strict, required
from fedtap.runtime.errors import UserError
from fedtap.runtime.manifest import FILE, check_files
from fedtap.runtime.randomness import derive
from fedtap.runtime.sealed import write_sealed_json
from fedtap.scenario.scenario import TrainingSettings
from fedtap.training.schedule import round_rate

KEY = "extended"
"""Of run.json: from how many rounds to how many, with which new clients, and whether the schedule is still that of one run."""


@dataclass(frozen=True, slots=True)
class Extension:
    """A run to be extended, and by what.

    ``folder`` is of the longer run; ``record`` is what run.json says of the shorter one, which had ``rounds`` rounds and did
    not have the clients ``added``.
    """

    folder: RunFolder
    record: Mapping[str, Any]
    rounds: int
    added: tuple[str, ...]

    @property
    def same_schedule(self) -> bool:
        """Whether the rounds that there are were trained at the rates that the longer run has for them."""
        training, rounds = self.folder.scenario.training, self.folder.scenario.rounds
        return _rates(training, self.rounds, self.rounds) == _rates(training, self.rounds, rounds)

    @property
    def notes(self) -> list[str]:
        """What the user should know, a line each."""
        path, rounds = self.folder.path, self.folder.scenario.rounds
        told = [f"{path}: goes on from round {self.rounds} to round {rounds}"]
        if self.added:
            told.append(f"new from round {self.rounds + 1} on: {', '.join(self.added)}")
        if not self.same_schedule:
            told.append(
                f"rounds 1 to {self.rounds} were trained along the schedule of {self.rounds} rounds, the others follow that of "
                f"{rounds}: not what {rounds} rounds from the start would give (they would with training.final_ratio=1)"
            )
        return told

    def begin(self, device: str, data: Mapping[str, str], start: ComponentState) -> None:
        """Make the folder that of the longer run.

        Parameters
        ----------
        device
            What the run goes on on.
        data
            A digest of each client's examples now.
        start
            The start of the federated model, from which components of new clients begin.

        Raises
        ------
        UserError
            If clients that there were have other examples now, or the checkpoint is not that of the run's end.
        """
        folder = self.folder
        self._check_data(data)
        commits = hub_commits(folder.scenario)
        require_same_commits(self.record, commits, folder.record)
        held = Checkpoint.load(folder.checkpoint, folder.run)
        if held is None or held.round != self.rounds:
            at = "missing" if held is None else f"of round {held.round}"
            raise UserError(f"{folder.checkpoint}: {at}, and the run has {self.rounds} rounds; restore it from a copy")
        if not held.state.components.keys() <= start.keys():
            raise UserError(f"{folder.checkpoint}: holds components that the scenario has not; restore it from a copy")
        for name in ("results.json", "cost.json", FILE, "report.html"):
            (folder.path / name).unlink(missing_ok=True)
        for name in ("clients", "outcomes", "report-pages", "checkpoint/personalised"):
            shutil.rmtree(folder.path / name, ignore_errors=True)
        folder.store.forget_from(self.rounds + 1)
        state = replace(held.state, components=start.merge(held.state.components))
        if self.added:
            replace(held, state=state).save(folder.checkpoint, folder.run)
        before = list(self.record.get(KEY) or [])
        step = {"from": self.rounds, "to": folder.scenario.rounds, "clients": list(self.added)}
        told = {
            **folder.describe(device),
            "data": dict(data),
            **({"hub": commits} if commits else {}),
            KEY: [*before, {**step, "same_schedule": self.same_schedule}],
        }
        write_sealed_json(folder.record, told, {"what": "run", "run": folder.run})

    def _check_data(self, data: Mapping[str, str]) -> None:
        known: Mapping[str, str] = self.record.get("data") or {}
        for client in sorted(known.keys() & data.keys()):
            if known[client] != data[client]:
                why = (
                    f"what it shares with {', '.join(self.added)} is shared out anew; give these data of their own"
                    if self.added
                    else "put those back"
                )
                raise UserError(
                    f"{self.folder.record}: holds a run with other data of client '{client}'; {why}, or give another --out"
                )


class _Step(Strict):
    """An extension that there has been."""

    start: Annotated[int, Field(alias="from", ge=0, le=MAX_ROUND)]
    to: Annotated[int, Field(ge=0, le=MAX_ROUND)]
    clients: list[str]
    same_schedule: bool


def plan_of_rounds(folder: RunFolder, chances: Mapping[str, float] | None) -> list[list[str]]:
    """Return who trains in each round of a run, extended or not (:func:`fedtap.federation.sampling.schedule`).

    Where new clients came, clients are dealt anew from their first round on: none of them has a turn in rounds that had been.

    Raises
    ------
    UserError
        If what run.json says of extensions is not what a run writes.
    """
    scenario = folder.scenario
    told = (folder.recorded().get(KEY) or []) if folder.begun else []
    try:
        steps = [required(_Step, step) for step in told]
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{folder.record}: '{KEY}' is not what a run writes ({error}); restore it from a copy"
        ) from error
    waiting = {client for step in steps for client in step.clients}
    there = [client.id for client in scenario.participants if client.id not in waiting]

    def planned(seed: int) -> list[list[str]]:
        return schedule(
            there,
            per_round=scenario.clients_per_round,
            rounds=scenario.rounds,
            seed=seed,
            sampling=scenario.sampling,
            chances=chances,
        )

    plan = planned(folder.seed)
    for step in steps:
        if step.clients:
            there += [client.id for client in scenario.participants if client.id in step.clients]
            anew = planned(derive(folder.seed, KEY, step.start))
            plan[step.start :] = anew[: scenario.rounds - step.start]
    return plan


def extension_of(folder: RunFolder, device: str) -> Extension | None:
    """Return the extension that makes the run in a folder the one described; None if it is that already.

    Raises
    ------
    UserError
        If the folder holds no run, or one that differs in more than rounds and new clients, has as many rounds, or has not ended.
    """
    path, scenario = folder.path, folder.scenario
    if not folder.begun:
        raise UserError(
            f"{path}: holds no run to extend; leave out --extend and set the rounds, or give the run's --out"
        )
    old, new = folder.recorded(), folder.describe(device)
    config: dict[str, Any] = dict(old["config"])
    rounds = int(config.get("rounds") or 0)
    added = new_clients(config, new["config"])
    alike = {**config, "rounds": scenario.rounds}
    if added:
        alike["clients"] = new["config"]["clients"]
    require_same_run({**old, "config": alike}, new, folder.record)
    taken = replace(folder, run=str(old["run"]))
    if rounds == scenario.rounds and not added:
        return None  # extended already, by a command that was cut off
    if scenario.rounds <= rounds:
        raise UserError(f"{path}: has {rounds} rounds; give more to go on: --extend rounds={2 * rounds}")
    checkpoint = Checkpoint.load(taken.checkpoint, taken.run)
    ended = (path / "results.json").exists()
    if not ended and (checkpoint is None or checkpoint.round < rounds):
        raise UserError(f"{path}: the run has not ended; go on with it first (--resume), then extend it")
    if ended:
        check_files(path, taken.run)
    return Extension(taken, old, rounds, tuple(str(client["id"]) for client in added or ()))


def _rates(training: TrainingSettings, number: int, rounds: int) -> list[float]:
    """Return the rates of the first so many rounds of a run of ``rounds``."""
    return [round_rate(training, at, rounds) for at in range(1, number + 1)]
