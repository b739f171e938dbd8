"""One run: a scenario, a method and a seed, from the first round to results.json."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedtap.data.requests import most_tested
from fedtap.data.shortfalls import tell_shortfalls
from fedtap.engines.ray.settings import RaySettings
from fedtap.evaluation import trivial
from fedtap.experiment.constants import Constants
from fedtap.experiment.convergence import chances_of
from fedtap.experiment.cost import Cost
from fedtap.experiment.extension import extension_of, plan_of_rounds
from fedtap.experiment.folder import Resume, RunFolder, at_work
from fedtap.experiment.pooled import Workers, simulated, threads
from fedtap.experiment.setup import Clients, ServerContext
from fedtap.federation.checkpoint import Checkpoint
from fedtap.federation.messages import Failure, Request
from fedtap.federation.result_validation import result_complaint
from fedtap.federation.rounds import ask, judged, one_short_line, run_round
from fedtap.federation.server import Server
from fedtap.privacy.guarantee import guarantee
from fedtap.reporting.events import LOST, NOTHING, EventLog, Settled, check_log, read_events
from fedtap.runtime.errors import RunError
from fedtap.runtime.watchdog import clear
from fedtap.scenario.scenario import ClientSettings, Scenario

Observer = Callable[[dict[str, Any]], None]


def run_in_process(
    scenario: Scenario,
    *,
    method: str | None = None,
    seed: int = 0,
    out: Path | None = None,
    resume: Resume = False,
    device: str = "auto",
    tell: Observer = lambda event: None,
    wait: bool = False,
    workers: Workers = None,
    ray: RaySettings | None = None,
) -> dict[str, Any]:
    """Run a method on a scenario in this process and its workers; parameters and errors are those of :func:`fedtap.run`.

    With ``ray`` the workers are actors.

    ``tell`` is called with every event. ``wait`` for another process that is at work in the folder, instead of refusing.
    """
    began = time.perf_counter()
    place = RunFolder.place(scenario, method=method, seed=seed, out=out)
    with at_work(place, wait=wait), threads(workers):
        extension = None
        if resume == "extend":
            extension = extension_of(RunFolder.described(scenario, method=method, seed=seed, out=out), device)
        if extension is not None:
            folder = extension.folder
            for line in extension.notes:
                tell({"event": "note", "text": line})
        else:
            again = True if resume == "extend" else resume
            folder = RunFolder.open(scenario, method=method, seed=seed, out=out, resume=again, device=device)
        if resume == "auto":
            tell(auto_note(folder))
        done = None if extension is not None else folder.results()
        if done is not None:
            if not folder.report.exists():
                folder.write_report()
            return done
        if folder.begun:
            clear(folder.path)  # workers of an attempt that was killed may have a last file to write
        folder.tidy()
        with simulated(folder, device=device, tell=tell, workers=workers, ray=ray) as (simulation, clients):
            found = simulation.dataset.fingerprints()
            if extension is None:
                folder.begin(device, found)
            else:
                extension.begin(device, found, simulation.start.components)
            constants = None if scenario.theory is None else Constants(scenario.theory, simulation.site)
            run = FederatedRun(simulation.server, clients, folder, tell, began, constants)
            if run.round == 0:  # the log of a later one has them
                tell_shortfalls(simulation.dataset.shortfalls(), run.observe)
            return run.complete()


def auto_note(folder: RunFolder) -> dict[str, Any]:
    """Return the event that says which of its two ways ``resume="auto"`` goes."""
    way = "goes on with the run that it holds" if folder.begun else "holds no run yet: starting one"
    return {"event": "note", "text": f"{folder.path}: {way}"}


class FederatedRun:
    """A run in progress: the same rounds, checkpoints, log and results, wherever the clients are.

    Parameters
    ----------
    context
        The server's context.
    clients
        The clients' context, or the way to it.
    folder
        Where everything is written.
    tell
        Called with every event.
    began
        When the run began, on the clock of :func:`time.perf_counter`.
    constants
        What looks at the server's model between rounds, if anything does; the run takes no notice of it.
    """

    def __init__(
        self,
        context: ServerContext,
        clients: Clients,
        folder: RunFolder,
        tell: Observer,
        began: float,
        constants: Constants | None = None,
    ) -> None:
        self._context = context
        self._clients = clients
        self._folder = folder
        self._tell = tell
        self._constants = constants
        self._cost = Cost(began)
        checkpoint = Checkpoint.load(folder.checkpoint, folder.run, context.start.components)
        if checkpoint is None:
            checkpoint = Checkpoint(0, context.start, NOTHING.bytes, 0.0, NOTHING.sha256)
        self._cost.carried = checkpoint.seconds
        self._round = checkpoint.round
        self._chances = chances_of(context.scenario, context.algorithm, context.architecture)
        self._server = Server(
            algorithm=context.algorithm,
            architecture=context.architecture,
            state=checkpoint.state,
            cards=context.cards,
            safety=context.scenario.safety,
            chances=self._chances,
            seed=context.seed,
        )
        names = [client.id for client in context.scenario.clients]
        folder.check_age(checkpoint.round, names)
        last = checkpoint.round == context.scenario.rounds
        self._answered = folder.answered(names, checkpoint.round + 1, remote=clients.remote) if last else {}
        self._log = EventLog(folder.events)
        try:
            settled = [Settled(checkpoint.events, checkpoint.events_sha256), *self._answered.values()]
            self._log.resume(max(settled, key=lambda each: each.bytes))
            if not clients.remote:
                told = read_events(folder.events)
                if constants is not None:
                    constants.done(int(event["round"]) for event in told if event["event"] == "theory")
                taken = {str(event["client"]): int(event["round"]) for event in told if event["event"] == "update"}
                folder.check_states(taken, checkpoint.round)
        except BaseException:
            self._log.close()
            raise

    @property
    def round(self) -> int:
        """The last round that was complete when the run was taken up."""
        return self._round

    def complete(self) -> dict[str, Any]:
        """Do what is left to do.

        Raises
        ------
        RunError
            If no update of any client was taken in any round, or no client could test its models: there is no result then.
        """
        scenario = self._context.scenario
        plan = plan_of_rounds(self._folder, self._chances)
        try:
            for event in self._context.remarks if self._round == 0 else ():
                self._log(event)  # whoever watches has heard of it when the data were read
            with self._cost.phase("rounds"):
                for number in range(self._round + 1, scenario.rounds + 1):
                    self._look(number - 1)
                    self._meet(plan[number - 1])
                    run_round(
                        self._server,
                        self._clients.transport,
                        plan[number - 1],
                        number,
                        self.observe,
                        timeout=scenario.round_timeout,
                        min_replies=scenario.min_replies,
                    )
                    self._commit(number)
                self._look(scenario.rounds)
            self._check_rounds()
            self._meet([client.id for client in scenario.clients])
            with self._cost.phase("personalise"):
                self._personalise()
            with self._cost.phase("evaluate"):
                rows = self._evaluate()
            self.observe({"event": "finished", "round": scenario.rounds})
            settled = self._log.settle()
        finally:
            self._log.close()
        check_log(self._folder.events, settled)  # costs and privacy are summed from what was written, and nothing else
        cost = self._cost.summary(self._folder.events, beside=self._clients.peak_rss_bytes)
        privacy = guarantee(scenario, read_events(self._folder.events))
        # With the results the run counts as finished: all but the report is there.
        results = self._folder.write_results(rows, privacy, cost=cost, events=settled)
        self._folder.write_report()
        return results

    def observe(self, event: dict[str, Any]) -> None:
        """Write an event down, and tell it to whoever watches."""
        self._log(event)
        self._tell(event)

    def _look(self, after: int) -> None:
        if self._constants is not None:
            self._constants.look(self._server, after, self.observe)

    def _meet(self, clients: Sequence[str]) -> None:
        """Have these clients ready, and take up the cards of those that have come."""
        self._clients.ready(clients)
        for card in self._clients.transport.clients():
            self._server.register(card)

    def _commit(self, number: int) -> None:
        settled = self._log.settle()
        checkpoint = Checkpoint(number, self._server.state, settled.bytes, self._cost.so_far(), settled.sha256)
        checkpoint.save(self._folder.checkpoint, self._folder.run)

    def _check_rounds(self) -> None:
        """Refuse to go on where nothing was federated: what follows would be the results of an untrained model."""
        events = read_events(self._folder.events)
        if any(event["event"] == "round_finished" and event["clients"] for event in events):
            return
        raise RunError(
            f"{self._folder.path}: no update of any client was taken in {self._context.scenario.rounds} rounds{_last(events)}; "
            "mend that, then run it again with another --out"
        )

    def _personalise(self) -> None:
        """Ask every client, those held out too, for its personal model; who answered before a crash is not asked again."""
        scenario = self._context.scenario
        number = scenario.rounds + 1
        clients = [client.id for client in scenario.clients]
        left = [client for client in clients if client not in self._answered]

        def request(client: str) -> Request:
            return Request(client, number, "personalise", self._server.slice_for(client))

        # On this machine they are asked one by one, and each is safe once it has answered; elsewhere all of them at once.
        groups = [left] if self._clients.remote else [[client] for client in left]
        self._clients.prefetch(map(request, left))
        done = len(clients) - len(left)
        for group in groups:
            self._tell(
                {"event": "personalising", "done": done, "total": len(clients), "client": group[0] if group else ""}
            )
            accepted = ask(
                self._server,
                self._clients.transport,
                [request(client) for client in group],
                number,
                self.observe,
                timeout=scenario.round_timeout,
            )
            done += len(group)
            if not self._context.algorithm.personalises:
                continue  # nothing was made that would have to be made again: after a crash all are asked anew
            made = {reply.client for reply in accepted}
            events = self._log.settle()
            for client in group:
                self._folder.mark_answered(client, number, made=client in made, events=events)
        self._tell({"event": "personalising", "done": len(clients), "total": len(clients)})

    def _evaluate(self) -> list[dict[str, Any]]:
        """Return the rows of all clients, in the scenario's order; rows that are not sound are refused, whoever made them."""
        scenario = self._context.scenario
        clients = {client.id: client for client in scenario.clients}
        found: dict[str, list[dict[str, Any]]] = {}
        requests = (  # made one by one: all slices together may be more than memory holds
            Request(client, scenario.rounds + 1, "evaluate", self._server.slice_for(client)) for client in clients
        )
        self._tell({"event": "evaluating", "done": 0, "total": len(clients)})
        for done, answer in enumerate(self._clients.evaluate(requests, scenario.round_timeout), start=1):
            client = clients.get(answer.client)
            about = {"round": scenario.rounds + 1, "client": answer.client}
            if isinstance(answer, Failure) or client is None or answer.client in found:
                why = answer.why if isinstance(answer, Failure) else "rows that nobody asked for"
                self.observe({"event": "failed", **about, "why": one_short_line(why)})
            elif self._clients.remote and (
                wrong := judged(
                    result_complaint,
                    answer.rows,
                    client.id,
                    client.pairs,
                    own_split(client),
                    self._folder.algorithm.model_names | trivial.MODELS,
                    most_behind_a_value(scenario, client),
                )
            ):
                self.observe({"event": "rejected", **about, "why": one_short_line(wrong)})
            else:
                found[client.id] = list(answer.rows)
                if lost := not_finite(answer.rows):
                    self.observe({"event": "failed", **about, "why": lost})
            self._tell({"event": "evaluating", "done": min(done, len(clients)), "total": len(clients)})
        if not found:
            why = _last(read_events(self._folder.events))
            raise RunError(
                f"{self._folder.path}: no client gave results{why}; mend that, then run the same command with --resume"
            )
        return [row for client in clients for row in found.get(client, [])]


def most_behind_a_value(scenario: Scenario, client: ClientSettings) -> dict[str, int]:
    """Return, for each task of a client, the most test examples, or tokens of text, that a result can be a mean over.

    Of tasks whose data are taken whole nothing is known, and so nothing is returned.
    """
    tokens = scenario.network.answer_tokens + 1  # with the end
    text = {pair.task for pair in client.pairs if pair.type == "text_generation"}
    tested = most_tested(scenario, client.id)
    return {task: number * (tokens if task in text else 1) for task, number in tested.items()}


def not_finite(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return in one line which of a client's results are no numbers, or nothing."""
    lost = [row for row in rows if row["value"] is None]
    if not lost:
        return ""
    first = lost[0]
    more = f" (and {len(lost) - 1} more results)" if len(lost) > 1 else ""
    return (
        f"its model '{first['model']}' has diverged: {first['metric']} of task '{first['task']}' is no finite number{more}, "
        "null in results.json; lower training.lr"
    )


def own_split(client: ClientSettings) -> str:
    """Return what a client's own test data are called: ``unseen`` where it was held out of training."""
    return "unseen" if client.unseen else "test"


def _last(events: Sequence[dict[str, Any]]) -> str:
    """Return who failed last, and why, as the tail of a message."""
    for event in reversed(events):
        if event["event"] in LOST:
            return f" (the last, '{event['client']}' in round {event['round']}, {event['event']}: {event['why']})"
        if event["event"] == "unchanged":
            return (
                f" (round {event['round']} had {event['replies']} replies of the {event['min_replies']} of min_replies)"
            )
    return ""
