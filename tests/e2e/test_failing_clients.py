"""A client that always fails, or whose updates are always refused, costs the run that client and nothing else."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import fedtap as library
from e2e.conftest import Command, events, rows, same_end
from fedtap.algorithms.base import Update
from fedtap.algorithms.registry import algorithms
from fedtap.components import ComponentKey, ComponentState
from fedtap.engines.inprocess import InProcessTransport
from fedtap.experiment.setup import LocalClients
from fedtap.federation.checkpoint import Checkpoint
from fedtap.federation.client import ClientSite
from fedtap.federation.messages import Failure, Reply
from fedtap.training.client import LocalClient, Trained
from tiny_federation import CLIENTS, ROUNDS

pytestmark = pytest.mark.usefixtures("no_report")
BAD = "painter"


def break_down(monkeypatch: pytest.MonkeyPatch, method: str, *clients: str) -> None:
    """Let a method's hooks raise at some clients, always."""
    kind = algorithms()[method]
    for hook in ("local_round", "personalise"):
        real = getattr(kind, hook)

        def raising(self: Any, client: LocalClient, *rest: Any, real: Any = real) -> Any:
            if client.id in clients:
                raise ValueError("the scanner\nis out of order")
            return real(self, client, *rest)

        monkeypatch.setattr(kind, hook, raising)


@pytest.mark.parametrize(("method", "left"), [("tap", {"federated"}), ("fedavg_ft", {"federated"}), ("local", set())])
def test_a_client_that_always_raises(
    method: str, left: set[str], scenario: Path, tmp_path: Path, fedtap: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_down(monkeypatch, method, BAD)
    out = tmp_path / "run"
    done = fedtap("run", scenario, "--method", method, "--out", out)
    assert done.code == 0
    failures = events(out, "failed")
    asked = [event["round"] for event in events(out, "round_started") if BAD in event["clients"]]
    assert [(event["client"], event["round"]) for event in failures] == [(BAD, n) for n in [*asked, ROUNDS + 1]]
    assert {event["why"] for event in failures} == {"ValueError: the scanner is out of order"}
    assert done.err.splitlines().count(f"{BAD}: failed: ValueError: the scanner is out of order") == len(failures)

    trivial = {"majority", "mean_picture", "unigram", "question_only"}
    models: dict[str, set[str]] = {client: set() for client in CLIENTS}
    for row in rows(out):
        if row["model"] not in trivial:
            models[row["client"]].add(row["model"])
    assert models.pop(BAD) == left  # whatever the server has for it, and nothing made up
    assert not (out / "clients" / BAD).exists()
    deployed = algorithms()[method].deployed
    for client, names in models.items():
        assert {deployed, *left} <= names
        assert (out / "clients" / client / deployed / "model.safetensors").is_file()
    assert {row["client"] for row in rows(out)} == set(CLIENTS)


def test_a_run_with_a_failing_client_resumes_to_the_same_end(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_down(monkeypatch, "tap", BAD)
    whole, out = tmp_path / "whole", tmp_path / "run"
    library.run(scenario, out=whole)
    for where in ({"event": "round_started", "round": 2}, {"event": "personalised", "client": "both"}):

        def stop(event: dict[str, Any], where: dict[str, Any] = where) -> None:
            if where.items() <= event.items():
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            library.run(scenario, out=out, resume="auto", observers=[stop])
    library.run(scenario, out=out, resume="auto")
    same_end(out, whole)


def test_when_everybody_fails_the_run_says_so_and_ends(
    scenario: Path, tmp_path: Path, fedtap: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_down(monkeypatch, "fedavg", *CLIENTS)
    out = tmp_path / "run"
    for more in ((), ("--resume",)):
        done = fedtap("run", scenario, "--method", "fedavg", "--out", out, *more)
        assert done.code == 1
        assert done.out == ""  # no empty table
        told = done.err.splitlines()[-1]
        assert f"no update of any client was taken in {ROUNDS} rounds (the last, '" in told
        assert "failed: ValueError: the scanner is out of order)" in told
        assert not (out / "results.json").exists()
    assert [event["clients"] for event in events(out, "round_finished")] == [[]] * ROUNDS
    assert len(events(out, "failed")) == 2 * ROUNDS


def test_when_no_round_has_enough_replies_the_run_says_so_and_ends(
    scenario: Path, tmp_path: Path, fedtap: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_down(monkeypatch, "fedavg", *(client for client in CLIENTS if client != BAD))
    done = fedtap("run", scenario, "--method", "fedavg", "--out", tmp_path / "run", "--set", "min_replies=2")
    assert done.code == 1
    assert f"no update of any client was taken in {ROUNDS} rounds" in done.err.splitlines()[-1]


def test_when_nobody_can_test_its_models_the_run_ends_without_results_and_can_be_taken_up(
    scenario: Path, tmp_path: Path, fedtap: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: Any, requests: Any, timeout: float | None) -> Iterator[Failure]:
        for request in requests:
            yield Failure(request.client, request.round, "ValueError: no test data")

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(LocalClients, "evaluate", failing)
        done = fedtap("run", scenario, "--out", out)
    assert done.code == 1
    assert "no client gave results (the last, '" in done.err.splitlines()[-1]
    assert "failed: ValueError: no test data); mend that, then run the same command with --resume" in done.err
    assert not (out / "results.json").exists()
    assert fedtap("run", scenario, "--out", out, "--resume").code == 0
    assert {row["client"] for row in rows(out)} == set(CLIENTS)


def first(update: Update) -> ComponentKey:
    return next(iter(update.components))


def poisoned(update: Update) -> Update:
    return replace(update, components=update.components.map(lambda tensor: torch.full_like(tensor, torch.nan)))


def foreign(update: Update) -> Update:
    key = ComponentKey("head", ("ask",))
    return replace(update, components=update.components.merge(ComponentState({key: {"w": torch.zeros(2)}})))


def misshapen(update: Update) -> Update:
    return replace(update, components=update.components.map(lambda tensor: tensor.flatten()[:-1]))


def negative(update: Update) -> Update:
    return replace(update, counts={**update.counts, first(update): -5})


def boastful(update: Update) -> Update:
    return replace(update, counts={**update.counts, first(update): 10**9})


FAULTS: dict[str, tuple[Callable[[Update], Update], str]] = {
    "not a number": (poisoned, "holds a value that is not finite"),
    "a component of others": (foreign, "component 'head/ask' is not in the client's plan"),
    "a wrong shape": (misshapen, "has shape ("),
    "a negative count": (negative, "is -5; expected a whole number from 0"),
    "too large a count": (boastful, "the client registered "),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_update_is_rejected_and_the_run_goes_on(
    fault: str, scenario: Path, tmp_path: Path, fedtap: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, why = FAULTS[fault]
    real = InProcessTransport.exchange

    def exchange(self: InProcessTransport, requests: Any, **options: Any) -> Iterator[Reply | Failure]:
        training = {request.client for request in requests if request.kind == "train"}
        for answer in real(self, requests, **options):
            if isinstance(answer, Reply) and answer.client == BAD and BAD in training:
                answer = replace(answer, update=change(answer.update))
            yield answer

    with monkeypatch.context() as patch:
        patch.setattr(InProcessTransport, "exchange", exchange)
        done = fedtap("run", scenario, "--out", tmp_path / "run")
    assert done.code == 0
    rejected = events(tmp_path / "run", "rejected")
    asked = [event["round"] for event in events(tmp_path / "run", "round_started") if BAD in event["clients"]]
    assert [(event["client"], event["round"]) for event in rejected] == [(BAD, number) for number in asked]
    assert len(asked) >= 1
    for event in rejected:
        assert why in event["why"]
        assert f"{BAD}: rejected: {event['why']}" in done.err.splitlines()
    assert BAD not in {event["client"] for event in events(tmp_path / "run", "update")}

    # The server ends as if that client had never answered: nothing of the bad updates is left, and all of the others'.
    def silent(self: InProcessTransport, requests: Any, **options: Any) -> Iterator[Reply | Failure]:
        for answer in real(self, requests, **options):
            yield Failure(BAD, answer.round, "silent") if answer.client == BAD else answer

    monkeypatch.setattr(InProcessTransport, "exchange", silent)
    library.run(scenario, out=tmp_path / "silent")
    ends = [Checkpoint.load(tmp_path / name / "checkpoint" / "server.safetensors") for name in ("run", "silent")]
    assert ends[0] is not None
    assert ends[1] is not None
    assert ends[0].state.components.equal(ends[1].state.components)
    assert {row["client"] for row in rows(tmp_path / "run") if row["model"] == "personal"} == set(CLIENTS)


def diverge(patch: pytest.MonkeyPatch, client: str) -> None:
    """Let a client's own training end where nothing is a number, as one step that is too long does."""
    train = LocalClient.train

    def away(self: LocalClient, *arguments: Any, stays: bool = False, **options: Any) -> Trained:
        done = train(self, *arguments, stays=stays, **options)
        if self.id == client and stays:
            return replace(done, state=done.state.map(lambda tensor: torch.full_like(tensor, torch.inf)))
        return done

    patch.setattr(LocalClient, "train", away)


def test_a_personal_model_that_diverges_fails_its_client_alone(
    scenario: Path, tmp_path: Path, fedtap: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverge(monkeypatch, BAD)
    out = tmp_path / "run"
    done = fedtap("run", scenario, "--method", "tap", "--out", out)
    assert done.code == 0
    told = events(out, "failed")
    assert told
    assert {event["client"] for event in told} == {BAD}
    assert "the client's model 'personal' has diverged" in told[0]["why"]
    assert all(row["value"] is not None for row in rows(out))
    assert {row["client"] for row in rows(out) if row["model"] == "personal"} >= set(CLIENTS) - {BAD}
    assert fedtap("run", scenario, "--method", "tap", "--out", out, "--resume").code == 0


def test_a_result_that_is_no_number_is_null_and_said_and_all_others_are_written(
    scenario: Path, tmp_path: Path, fedtap: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = ClientSite.models

    def spoiled(self: ClientSite, client: str, received: ComponentState) -> dict[str, ComponentState]:
        found = dict(models(self, client, received))
        if client == BAD:
            found["personal"] = found["personal"].map(lambda tensor: torch.full_like(tensor, torch.nan))
        return found

    monkeypatch.setattr(ClientSite, "models", spoiled)
    out = tmp_path / "run"
    done = fedtap("run", scenario, "--method", "tap", "--out", out)
    assert done.code == 0
    lost = [row for row in rows(out) if row["value"] is None]
    assert lost
    assert {(row["client"], row["model"]) for row in lost} == {(BAD, "personal")}
    (said,) = events(out, "failed")
    assert said["client"] == BAD
    assert "has diverged" in said["why"]
    assert "null in results.json" in done.err
    monkeypatch.undo()  # the real report
    assert fedtap("report", out).code == 0
    assert "nan" not in (out / "report.html").read_text(encoding="utf-8").partition("<main")[2].lower().split()
    card = (out / "clients" / BAD / "personal" / "README.md").read_text(encoding="utf-8")
    assert "nan" not in card.lower()


def test_a_test_that_breaks_fails_its_client_alone(
    scenario: Path, tmp_path: Path, fedtap: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = ClientSite.models

    def broken(self: ClientSite, client: str, received: ComponentState) -> Any:
        if client == BAD:
            raise ZeroDivisionError("no example left")
        return models(self, client, received)

    monkeypatch.setattr(ClientSite, "models", broken)
    out = tmp_path / "run"
    assert fedtap("run", scenario, "--method", "fedavg", "--out", out).code == 0
    assert {row["client"] for row in rows(out)} == set(CLIENTS) - {BAD}
    (said,) = events(out, "failed")
    assert said["why"] == "ZeroDivisionError: no example left"
