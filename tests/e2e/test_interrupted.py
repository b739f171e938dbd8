"""A run that is cut off anywhere and taken up again ends as if nothing had happened. SIGKILL itself: test_killed.py."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fedtap as library
from e2e.conftest import Command, same_end, snapshot
from tiers import thorough_but
from tiny_federation import CLIENTS, ROUNDS

pytestmark = pytest.mark.usefixtures("no_report")


class Cut(BaseException):
    """The process ends here. No Exception, so that nothing on the way can take it for a client's fault."""


def at(kind: str, **where: Any) -> Callable[[dict[str, Any]], bool]:
    """Return whether an event is the one to cut the run off at."""
    return lambda event: event["event"] == kind and all(event.get(key) == value for key, value in where.items())


MOMENTS = {
    "before the first update": at("round_started", round=1),
    "after one of two updates": at("update", round=1, client="asker"),
    "in the first round, all but committed": at("round_finished", round=1),
    "at the start of a round": at("round_started", round=2),
    "in the middle of a client's decisions": at("decision", round=3, client="painter", task="shade"),
    "in the last round, all but committed": at("round_finished", round=3),
    "before the first personal model": at("personalising", done=0),
    "after a personal model, before it is marked": at("personalised", client="painter"),
    "in the middle of a guard's decisions": at("decision", round=4, client="both", task="mood"),
    "before the last personal model": at("personalising", done=4),
    "after the last personal model": at("personalising", done=5),
    "before any evaluation": at("evaluating", done=0),
    "in the middle of the evaluation": at("evaluating", done=3),
    "after the evaluation": at("finished"),
}


def cut_off(scenario: Path, out: Path, moment: Callable[[dict[str, Any]], bool], *, resume: bool = False) -> None:
    """Run until a moment, which must come, and not further."""

    def watch(event: dict[str, Any]) -> None:
        if moment(event):
            raise Cut

    with pytest.raises(Cut):
        library.run(scenario, out=out, resume=resume, observers=[watch])


@pytest.fixture(scope="module")
def left(scenario: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what lies on the disk at each moment, and before each write, of one run: what a kill would leave."""
    place = tmp_path_factory.mktemp("left")
    out = place / "run"
    written: list[str] = []
    real = os.replace

    def watch(event: dict[str, Any]) -> None:
        for name, moment in MOMENTS.items():
            if moment(event) and not (place / name).exists():
                shutil.copytree(out, place / name)

    def replace(source: Any, target: Any) -> None:
        written.append(Path(target).name)
        for name, number in WRITES.items():
            if len(written) == number:
                shutil.copytree(out, place / name)
        real(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedtap.reporting.run.report.render", lambda record, pages=(): "")
        patch.setattr("fedtap.runtime.storage.os.replace", replace)
        library.run(scenario, out=out, observers=[watch])
    for name, number in WRITES.items():  # the table below is right
        if name.endswith((".json", ".html")):
            assert written[number - 1] == name
    return place


OFTEN = ("in the middle of a client's decisions", "in the middle of a guard's decisions", "after the evaluation")
"""What `make test` goes on from one by one; `test_cut_off_again_and_again` passes all others in one run."""


@pytest.mark.parametrize(
    "moment",
    thorough_but(OFTEN, MOMENTS, pytest.mark.slow),
)
def test_cut_off_once(moment: str, left: Path, scenario: Path, whole: Path, tmp_path: Path, fedtap: Command) -> None:
    shutil.copytree(left / moment, tmp_path / "run")
    assert not (tmp_path / "run" / "results.json").exists()
    assert fedtap("run", scenario, "--out", tmp_path / "run", "--resume").code == 0
    same_end(tmp_path / "run", whole)


def test_cut_off_again_and_again(scenario: Path, whole: Path, tmp_path: Path) -> None:
    """Every attempt gets a round or a client further than the one before, and ends in the middle of the next."""
    out = tmp_path / "run"
    for number in range(1, ROUNDS + 1):
        cut_off(scenario, out, at("round_finished", round=number), resume=number > 1)
        cut_off(scenario, out, at("update", round=number), resume=True)
        if number < ROUNDS:
            cut_off(scenario, out, at("round_started", round=number + 1), resume=True)
    cut_off(scenario, out, at("personalising", done=0), resume=True)
    for client in CLIENTS:
        cut_off(scenario, out, at("personalised", client=client), resume=True)
    cut_off(scenario, out, at("personalising", done=len(CLIENTS)), resume=True)
    for done in (0, 1, len(CLIENTS) - 1):
        cut_off(scenario, out, at("evaluating", done=done), resume=True)
    library.run(scenario, out=out, resume=True)
    same_end(out, whole)


WRITES = {
    "run.json": 1,
    "the first client's first state": 2,
    "the second client's first state": 3,
    "the first checkpoint": 4,
    "the last checkpoint": 10,
    "the first personal state": 11,
    "the first mark": 12,
    "the last mark": 20,
    "what is told of a client's test": 24,
    "a client's model": 25,
    "digests.json": 41,
    "cost.json": 42,
    "results.json": 43,
    "report.html": 44,
}


@pytest.mark.parametrize("name", WRITES)
def test_cut_off_just_before_a_file_takes_its_name(
    name: str, left: Path, scenario: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(left / name, out)
    assert not (name.endswith((".json", ".html")) and (out / name).exists())
    library.run(scenario, out=out, resume="auto")
    same_end(out, whole)
    assert (out / "report.html").exists()


@pytest.mark.parametrize("method", ["local", "fedavg_ft", "probe"])
def test_other_methods_resume_too(method: str, scenario: Path, tmp_path: Path) -> None:
    library.run(scenario, method=method, out=tmp_path / "whole")
    cut = at("update", round=3)

    def watch(event: dict[str, Any]) -> None:
        if cut(event):
            raise Cut

    with pytest.raises(Cut):
        library.run(scenario, method=method, out=tmp_path / "run", observers=[watch])
    library.run(scenario, method=method, out=tmp_path / "run", resume=True)
    same_end(tmp_path / "run", tmp_path / "whole")


def test_an_older_checkpoint_goes_on_only_with_the_states_that_belong_to_it(
    scenario: Path, whole: Path, tmp_path: Path, fedtap: Command
) -> None:
    out, older = tmp_path / "run", tmp_path / "older"
    cut_off(scenario, out, at("round_started", round=2))
    shutil.copytree(out / "checkpoint", older)
    cut_off(scenario, out, at("personalising", done=3), resume=True)
    server = out / "checkpoint" / "server.safetensors"
    for lost in (False, True):
        server.unlink()
        if not lost:
            shutil.copy(older / "server.safetensors", server)
        before = snapshot(out)
        refused = fedtap("run", scenario, "--out", out, "--resume")
        assert refused.code == 2
        assert f"{server}: {'missing' if lost else 'of round 1'}, but client " in refused.err
        assert "restore the whole folder" in refused.err.splitlines()[-1]
        assert snapshot(out) == before
    shutil.rmtree(out / "checkpoint")
    shutil.copytree(older, out / "checkpoint")
    library.run(scenario, out=out, resume=True)
    same_end(out, whole)


def test_a_removed_personal_model_is_made_anew(scenario: Path, whole: Path, tmp_path: Path) -> None:
    """The mend for a damaged state says so: remove it."""
    out = tmp_path / "run"
    cut_off(scenario, out, at("evaluating", done=0))
    (out / "checkpoint" / "clients" / "painter" / "round-0004.safetensors").unlink()
    library.run(scenario, out=out, resume=True)
    same_end(out, whole)


def test_a_scrap_of_the_first_write_is_no_obstacle(scenario: Path, tmp_path: Path) -> None:
    """A process that was killed while it wrote run.json leaves that file's temporary name behind, and nothing else."""
    for resume in (False, "auto"):
        out = tmp_path / str(resume)
        out.mkdir()
        (out / ".run.json.k3j2h1").write_text("{")
        assert library.run(scenario, method="probe", out=out, resume=resume)["rows"]
        assert not list(out.rglob(".*"))
