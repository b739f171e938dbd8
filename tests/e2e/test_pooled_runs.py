"""Runs over worker processes: the results are those of one process with one thread, whatever happens to a worker or a run."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

import fedtap as library
from e2e.conftest import Command, events, rows, same_end
from e2e.test_killed import MOMENTS, kill_at, start
from fedtap.algorithms.fedavg_ft import FedAvgFineTuning
from fedtap.algorithms.outside import _held
from fedtap.algorithms.registry import register
from fedtap.experiment.pooled import how_many
from fedtap.runtime.errors import UserError
from fedtap.runtime.watchdog import living
from tiny_federation import CLIENTS, ROUNDS

PAIRED = ("method.gate=paired",)


@pytest.fixture(autouse=True)
def nothing_is_left(no_report: None, tmp_path: Path) -> Any:
    yield
    for folder in tmp_path.iterdir():
        assert not living(folder)


def pooled(scenario: Path, out: Path, **options: Any) -> dict[str, Any]:
    return library.run(scenario, out=out, workers=options.pop("workers", 2), **options)


def test_two_workers_end_as_one_process_does(scenario: Path, tmp_path: Path) -> None:
    """With an empty cache, so that the workers encode too."""
    told: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDTAP_CACHE", str(tmp_path / "cache"))
        pooled(scenario, tmp_path / "pooled", overrides=PAIRED, observers=[told.append])
    library.run(scenario, out=tmp_path / "one", overrides=PAIRED)
    same_end(tmp_path / "pooled", tmp_path / "one")
    done = {event["tower"]: event for event in told if event["event"] == "encoding" and event["done"] == event["total"]}
    assert set(done) == {"vision", "text"}
    progress = [(event["event"], event["done"]) for event in told if event["event"] in ("personalising", "evaluating")]
    assert progress == [(stage, n) for stage in ("personalising", "evaluating") for n in range(len(CLIENTS) + 1)]


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("ditto", ()),
        ("fedavg", ()),
        ("fedper", ()),
        ("fedhca2", ()),  # tailors to each client
        ("fedavg_ft", ("defence.mean=median",)),
        ("tap", ("wire.precision=int8",)),
        ("tap", ("privacy.secure.holders=2", "clients_per_round=3")),
        ("fedavg_ft", ("privacy.local.noise=1.0", "privacy.local.clip=1.0", "privacy.noise_source=seeded")),
    ],
)
def test_any_number_of_workers_ends_as_one_process_does(
    method: str, settings: tuple[str, ...], workers: int, scenario: Path, tmp_path: Path
) -> None:
    if "secure" in str(settings):
        pytest.importorskip("Crypto")
    for name, number in (("pooled", workers), ("one", None)):
        library.run(scenario, method=method, out=tmp_path / name, overrides=settings, workers=number)
    same_end(tmp_path / "pooled", tmp_path / "one")


FAILING = """
import os, signal
from pathlib import Path
from fedtap.algorithms.fedavg_ft import FedAvgFineTuning

class Failing(FedAvgFineTuning):
    name = "failing"
    summary = "raises at one client, and kills its process once at another"

    def local_round(self, client, received, state):
        if client.id == "painter":
            raise ValueError("the scanner\\nis out of order")
        mark = Path(__file__).with_name("died")
        if client.id == "both" and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().local_round(client, received, state)
"""


def test_a_client_that_raises_and_a_worker_that_dies_are_failed_clients(scenario: Path, tmp_path: Path) -> None:
    file = tmp_path / "method" / "failing.py"
    file.parent.mkdir()
    file.write_text(FAILING)
    out = tmp_path / "run"
    pooled(scenario, out, method=str(file), overrides=("clients_per_round=4", "rounds=2"))
    why = {(event["round"], event["client"]): event["why"] for event in events(out, "failed")}
    assert why.pop((1, "both")) == "its worker process ended with signal 9 (SIGKILL); another takes its place"
    assert why == {(number, "painter"): "ValueError: the scanner is out of order" for number in (1, 2)}
    taken = [event["clients"] for event in events(out, "round_finished")]
    assert taken == [["asker", "reader"], ["asker", "both", "reader"]]
    assert {row["client"] for row in rows(out)} == set(CLIENTS)
    _held.pop("failing", None)


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("moment", ["in a round, after an update", "while clients are personalised"])
@pytest.mark.parametrize("again", [("--workers", "2"), ()])
def test_killed_and_resumed(
    moment: str, again: tuple[str, ...], scenario: Path, whole: Path, tmp_path: Path, fedtap: Command
) -> None:
    out = tmp_path / "run"
    kill_at(start(scenario, out, "--workers", "2"), lambda: MOMENTS[moment](out))
    done = fedtap("run", scenario, "--out", out, "--resume", *again)
    assert done.code == 0, done.err
    same_end(out, whole)


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("where", [{"event": "round_started", "round": 2}, {"event": "personalised", "client": "both"}])
def test_interrupted_and_resumed(where: dict[str, Any], scenario: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def stop(event: dict[str, Any]) -> None:
        if where.items() <= event.items():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pooled(scenario, out, observers=[stop])
    assert not living(out)
    pooled(scenario, out, resume=True)
    same_end(out, whole)


@pytest.mark.slow
@pytest.mark.thorough
def test_all_workers_killed_in_the_middle_of_a_run(scenario: Path, whole: Path, tmp_path: Path) -> None:
    """Between rounds nobody is at work, so nobody fails, and the results are the same."""
    out = tmp_path / "run"

    def kill(event: dict[str, Any]) -> None:
        if event["event"] == "round_finished" and event["round"] < ROUNDS:
            for process in living(out):
                if "fedtap.experiment.worker" in process.cmdline():
                    os.kill(process.pid, signal.SIGKILL)
                    process.wait(10) if process.is_running() else None

    pooled(scenario, out, observers=[kill])
    same_end(out, whole)


def test_the_command_takes_a_number_or_auto(scenario: Path, tmp_path: Path, fedtap: Command) -> None:
    for wrong in ("0", "-1", "two", "1.5", ""):
        refused = fedtap("run", scenario, "--out", tmp_path / "run", f"--workers={wrong}")
        assert (refused.code, refused.err) == (
            2,
            f"fedtap: --workers {wrong}: give a number of 1 or more, or auto (one for each core)\n",
        )
    refused = fedtap("run", scenario, "--out", tmp_path / "run", "--workers=2", "--engine=flower")
    assert refused.code == 2
    assert "--workers goes with --engine inprocess or ray" in refused.err
    assert not (tmp_path / "run").exists()


def test_a_method_that_only_this_process_knows_is_refused(scenario: Path, tmp_path: Path) -> None:
    class Here(FedAvgFineTuning):
        name = "here"

    register(Here)
    try:
        with pytest.raises(UserError, match="method 'here' is known to this Python process alone"):
            pooled(scenario, tmp_path / "run", method="here")
    finally:
        _held.pop("here")


def test_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    from fedtap.experiment import pooled

    monkeypatch.setattr(pooled, "cores", lambda: 8)
    monkeypatch.setattr(pooled, "peak_rss_bytes", lambda: 2**30)
    for gigabytes, clients, number in ((100, 50, 8), (9, 50, 4), (1, 50, 1), (100, 5, 5)):
        monkeypatch.setattr(pooled, "available_bytes", lambda gigabytes=gigabytes: gigabytes * 2**30)
        assert how_many("auto", clients) == number
    assert how_many(20, 50) == 20
    assert how_many(20, 5) == 5
