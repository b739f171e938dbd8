"""One run: a scenario, a method and a seed, from the first round to results.json."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fedtap.config import Scenario, load_scenario
from fedtap.errors import UserError
from fedtap.evaluation.evaluate import evaluate_client
from fedtap.evaluation.trivial import trivial_rows
from fedtap.experiment.cost import Cost
from fedtap.experiment.folder import RunFolder
from fedtap.experiment.guarantee import guarantee
from fedtap.experiment.setup import Bench, set_up
from fedtap.federation.checkpoint import Checkpoint
from fedtap.federation.messages import Request
from fedtap.federation.rounds import ask, run_round
from fedtap.federation.sampling import schedule
from fedtap.federation.server import Server
from fedtap.reporting.events import EventLog, read_events

Observer = Callable[[dict[str, Any]], None]
ENGINES = ("inprocess",)


def run(
    scenario: str | Path | Scenario,
    *,
    method: str | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    engine: str = "inprocess",
    device: str = "auto",
    observers: Sequence[Observer] = (),
) -> dict[str, Any]:
    """Run a method on a scenario and return what results.json holds.

    Parameters
    ----------
    scenario
        A YAML file, or a scenario already loaded (then ``overrides`` must be empty).
    method
        Instead of the scenario's own.
    seed
        Of the run: starts, partition, sampling and the order of data all follow from it.
    out
        The run's folder; by default ``runs/<scenario>-<method>-seed<seed>``.
    overrides
        ``section.key=value`` settings.
    resume
        Go on from the last complete round in ``out``; the result is that of an uninterrupted run.
    engine
        ``inprocess``.
    device
        ``auto``, ``cpu``, ``cuda`` or any torch device.
    observers
        Called with every event, and with passing ones on progress that are not written down.

    Raises
    ------
    UserError
        If anything given is wrong.
    RunError
        If the machine cannot go on (a full disk).
    """
    began = time.perf_counter()
    if engine not in ENGINES:
        raise UserError(f"--engine {engine}: not available; use inprocess")
    if not isinstance(scenario, Scenario):
        scenario = load_scenario(scenario, overrides)
    elif overrides:
        raise UserError("overrides go with a scenario file, not with a scenario that is already loaded")
    folder = RunFolder.open(scenario, method=method, seed=seed, out=out, resume=resume, device=device)
    done = folder.results()
    if done is not None:
        if not folder.report.exists():
            folder.write_report()
        return done

    def tell(event: dict[str, Any]) -> None:
        for observer in observers:
            observer(event)

    bench = set_up(scenario, folder.algorithm, seed=seed, device=device, store=folder.store, tell=tell)
    folder.begin(device)
    return _Work(bench, folder, tell, began).complete()


class _Work:
    """A run in progress."""

    def __init__(self, bench: Bench, folder: RunFolder, tell: Observer, began: float) -> None:
        self._bench = bench
        self._folder = folder
        self._tell = tell
        self._cost = Cost(began)
        checkpoint = Checkpoint.load(folder.checkpoint)
        if checkpoint is None:
            checkpoint = Checkpoint(0, bench.start, 0, 0.0)
        self._cost.carried = checkpoint.seconds
        self._round = checkpoint.round
        self._server = Server(
            algorithm=bench.algorithm,
            architecture=bench.network.architecture,
            state=checkpoint.state,
            cards=bench.cards,
            safety=bench.scenario.safety,
            seed=bench.seed,
        )
        clients = [client.id for client in bench.scenario.clients]
        folder.check_age(checkpoint.round, clients)
        last = checkpoint.round == bench.scenario.rounds
        self._answered = folder.answered(clients, checkpoint.round + 1) if last else {}
        self._log = EventLog(folder.events)
        try:
            self._log.truncate(max([checkpoint.events, *self._answered.values()]))
        except BaseException:
            self._log.close()
            raise

    def complete(self) -> dict[str, Any]:
        """Do what is left to do."""
        scenario = self._bench.scenario
        plan = schedule(
            [client.id for client in scenario.participants],
            per_round=scenario.clients_per_round,
            rounds=scenario.rounds,
            seed=self._bench.seed,
        )
        try:
            with self._cost.phase("rounds"):
                for number in range(self._round + 1, scenario.rounds + 1):
                    run_round(self._server, self._bench.transport, plan[number - 1], number, self._observe)
                    self._commit(number)
            with self._cost.phase("personalise"):
                self._personalise()
            with self._cost.phase("evaluate"):
                rows = self._evaluate()
            self._observe({"event": "finished", "round": scenario.rounds})
        finally:
            self._log.close()
        self._folder.write_cost(self._cost.summary(self._folder.events))
        privacy = guarantee(scenario, read_events(self._folder.events))
        results = self._folder.write_results(
            rows, privacy
        )  # with them the run counts as finished: all but the report is there
        self._folder.write_report()
        return results

    def _observe(self, event: dict[str, Any]) -> None:
        self._log(event)
        self._tell(event)

    def _commit(self, number: int) -> None:
        checkpoint = Checkpoint(number, self._server.state, self._log.settle(), self._cost.so_far())
        checkpoint.save(self._folder.checkpoint)

    def _personalise(self) -> None:
        """Ask every client, those held out too, for its personal model; who answered before a crash is not asked again."""
        number = self._bench.scenario.rounds + 1
        clients = [client.id for client in self._bench.scenario.clients]
        for done, client in enumerate(clients):
            self._tell({"event": "personalising", "done": done, "total": len(clients), "client": client})
            if client in self._answered:
                continue
            request = Request(client, number, "personalise", self._server.slice_for(client))
            accepted = ask(self._server, self._bench.transport, [request], number, self._observe)
            self._folder.mark_answered(client, made=bool(accepted), events=self._log.settle())
        self._tell({"event": "personalising", "done": len(clients), "total": len(clients)})

    def _evaluate(self) -> list[dict[str, Any]]:
        bench = self._bench
        rows: list[dict[str, Any]] = []
        total = len(bench.scenario.clients)
        for done, client in enumerate(bench.scenario.clients):
            self._tell({"event": "evaluating", "done": done, "total": total})
            received = self._server.slice_for(client.id)
            models = bench.site.models(client.id, received)
            rows += evaluate_client(
                client=client.id,
                pairs=client.pairs,
                models=models,
                network=bench.network,
                room=bench.room,
                cross_examples=bench.scenario.evaluation.cross_examples,
                unseen=client.unseen,
                text_metrics=bench.text_metrics,
            )
            rows += trivial_rows(
                client=client.id,
                pairs=client.pairs,
                data=bench.room.client_data(client.id),
                words=bench.network.words,
                unseen=client.unseen,
                text_metrics=bench.text_metrics,
            )
            self._folder.save_models(client, models, rows)
        self._tell({"event": "evaluating", "done": total, "total": total})
        return rows
