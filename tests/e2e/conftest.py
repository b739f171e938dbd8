"""What whole runs share: the scenario's files, the cache of encoded examples, one finished run, and ways to call the command."""

import fcntl
import json
import os
import resource
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import fedtap as library
from fedtap.cli import main
from tiny_federation import METHODS, write_scenario


class Called(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


Command = Callable[..., Called]


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that the first process of the tests to ask for it makes, for all of them; it is not to be changed."""
    base = factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"
    root.mkdir(exist_ok=True)
    place, ready = root / name, root / f"{name}.ready"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            make(place)
            ready.touch()
    return place


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep encoded examples away from the user's own cache; they are encoded once for all tests."""
    folder = made_once(tmp_path_factory, "cache", Path.mkdir)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDTAP_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def short_looks() -> Iterator[None]:
    """Look more often whether processes of an attempt before are gone: here they mostly are, and every resume asks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedtap.runtime.watchdog.LOOK", 0.01)
        yield


@pytest.fixture(scope="session")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the scenario's file; its data lie beside it and are not to be changed."""

    def make(place: Path) -> None:
        place.mkdir()
        write_scenario(place)

    return made_once(tmp_path_factory, "tiny", make) / "tiny.yaml"


@pytest.fixture
def fedtap(capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs a command in this process."""

    def call(*arguments: object) -> Called:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        return Called(int(left.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def whole(scenario: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of tap that nothing interrupted; it is not to be changed."""
    return made_once(tmp_path_factory, "whole", lambda out: do_run(scenario, out))


@pytest.fixture(scope="session")
def finished(scenario: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what gives the folder of a whole run, but for its report, of one of ``METHODS``; it is not to be changed."""

    def run(method: str) -> Path:
        name = f"run-{list(METHODS).index(method)}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fedtap.reporting.run.report.render", lambda record, pages=(): "")
            return made_once(tmp_path_factory, name, lambda out: do_run(scenario, out, *METHODS[method]))

    return run


def do_run(scenario: Path, out: Path, *options: str) -> None:
    """Give the command, which must end well."""
    with pytest.raises(SystemExit) as left:
        main(["run", str(scenario), *options, "--out", str(out)])
    assert not left.value.code


class Cut(BaseException):
    """The process ends here; no Exception, so that nothing on the way takes it for a client's fault."""


def cut_off(scenario: Path, out: Path, event: str, *, where: Mapping[str, Any], **options: Any) -> None:
    """Run up to an event with these fields, which must come; options are those of ``fedtap.run``."""

    def watch(seen: dict[str, Any]) -> None:
        if seen["event"] == event and all(seen[key] == value for key, value in where.items()):
            raise Cut

    with pytest.raises(Cut):
        library.run(scenario, out=out, observers=[watch], **options)


@pytest.fixture
def bounded_memory() -> Iterator[None]:
    """Let what asks for more memory than this end the test, and not the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 10**9, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write an empty page for a report: plots take longer than these runs do."""
    monkeypatch.setattr("fedtap.reporting.run.report.render", lambda record, pages=(): "")


def events(run: Path, *kinds: str) -> list[dict[str, Any]]:
    """Return a run's events, of these kinds or of all."""
    lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    return [event for event in found if not kinds or event["event"] in kinds]


def rows(run: Path) -> list[dict[str, Any]]:
    """Return the rows of a run's results."""
    found: list[dict[str, Any]] = json.loads((run / "results.json").read_text(encoding="utf-8"))["rows"]
    return found


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the content of every file in a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same_end(out: Path, whole: Path) -> None:
    """Assert that a run ended as the one that nothing interrupted."""
    assert (out / "results.json").read_bytes() == (whole / "results.json").read_bytes()
    assert untimed(events(out)) == untimed(events(whole))
    cost, expected = (json.loads((run / "cost.json").read_text()) for run in (out, whole))
    for key in ("bytes_down", "bytes_up", "steps_total"):
        assert cost[key] == expected[key]
    models = {name: data for name, data in snapshot(whole / "clients").items() if name.endswith(".safetensors")}
    assert models
    for name, data in models.items():
        assert (out / "clients" / name).read_bytes() == data
    assert snapshot(out / "outcomes") == snapshot(whole / "outcomes")


def untimed(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events without what a clock said."""
    return [{key: value for key, value in event.items() if key not in ("time", "seconds")} for event in found]
