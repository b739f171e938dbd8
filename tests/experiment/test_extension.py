"""A finished run that is given more rounds: what an uninterrupted longer run gives, and what is said where that cannot be."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import fedtap as library
from e2e.conftest import cut_off, events, rows, same_end
from fedtap.reporting.run.record import read_run
from fedtap.reporting.run.summary import sentences
from fedtap.runtime.errors import UserError
from fedtap.runtime.manifest import read_record
from tiny_federation import TASKS, called, settings, write_scenario

LEVEL = ["training.final_ratio=1", "training.warmup_rounds=0"]
"""A schedule of which no round's rate depends on how many rounds there are."""


@pytest.fixture(scope="module", autouse=True)
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDTAP_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("fedtap.reporting.run.report.render", lambda record, pages=(): "")
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenario(tmp_path_factory.mktemp("tiny")).parent


def go(home: Path, out: Path, rounds: int = 1, **options: Any) -> dict[str, Any]:
    return library.run(home / "tiny.yaml", overrides=[*LEVEL, f"rounds={rounds}"], out=out, **options)


@pytest.fixture(scope="module")
def short(home: Path) -> Path:
    go(home, home / "short")
    return home / "short"


@pytest.fixture(scope="module")
def whole(home: Path) -> Path:
    go(home, home / "whole", rounds=2)
    return home / "whole"


@pytest.fixture
def copy(short: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(short, tmp_path / "run"))


def with_clients(home: Path, clients: list[dict[str, Any]]) -> Path:
    """Write the scenario under its name, with these clients."""
    path = home / "more.yaml"
    path.write_text(yaml.safe_dump({**settings(clients=clients), "name": "tiny"}), encoding="utf-8")
    return path


def test_it_ends_as_a_run_of_so_many_rounds_from_the_start(home: Path, copy: Path, whole: Path) -> None:
    told: list[dict[str, Any]] = []
    go(home, copy, extend=2, observers=[told.append])
    same_end(copy, whole)
    assert f"{copy}: goes on from round 1 to round 2" in [event.get("text") for event in told]
    assert read_record(copy)["config"]["rounds"] == 2
    assert read_record(copy)["extended"] == [{"from": 1, "to": 2, "clients": [], "same_schedule": True}]
    assert read_record(copy)["kind"] == read_record(whole)["kind"]
    assert go(home, copy, extend=2)["rows"] == rows(whole)  # the same command once more finds it done


def test_an_extension_that_was_cut_off_goes_on_by_the_same_command(home: Path, copy: Path, whole: Path) -> None:
    options = {"overrides": [*LEVEL, "rounds=1"], "extend": 2}
    cut_off(home / "tiny.yaml", copy, "personalised", where={"round": 3}, **options)
    go(home, copy, extend=2)
    same_end(copy, whole)


def test_one_that_was_cut_off_before_it_began_begins_again(home: Path, copy: Path, whole: Path) -> None:
    (copy / "results.json").unlink()
    (copy / "digests.json").unlink()
    shutil.rmtree(copy / "clients")
    go(home, copy, extend=2)
    same_end(copy, whole)


def test_a_schedule_that_depends_on_the_rounds_is_said(home: Path, tmp_path: Path) -> None:
    out, heard = tmp_path / "run", list[dict[str, Any]]()
    few = ["data.train=4", "data.validation=2", "data.test=2", "local_steps=1", "training.finetune_steps=1", "rounds=2"]
    library.run(home / "tiny.yaml", method="fedavg", overrides=few, out=out)
    library.run(home / "tiny.yaml", method="fedavg", overrides=few, out=out, extend=3, observers=[heard.append])
    lines = [event["text"] for event in heard if event["event"] == "note"]
    assert any("rounds 1 to 2 were trained along the schedule of 2 rounds" in line for line in lines)
    told = sentences(read_run(out))
    assert any("extended to 3: rounds 1 to 2 along the schedule of 2 rounds" in line for line in told)


def test_new_clients_are_said_and_join(home: Path, copy: Path, short: Path) -> None:
    """A client with data of its own; those of the others stay as they are."""
    lines = [f"a new film {i},{('sad', 'glad')[i % 2]}" for i in range(40)]
    (home / "data/more.csv").write_text("\n".join(["sentence,mood", *lines]))
    fresh = {"name": "tone", **TASKS["mood"], "path": "data/more.csv", "classes": ["glad", "sad", "so"]}
    clients = [*settings()["clients"], {"id": "late", "tasks": [fresh]}]
    more = with_clients(home, clients)
    options: dict[str, Any] = {"overrides": [*LEVEL, "rounds=1"], "out": copy}
    with pytest.raises(UserError, match=r"a run without 'late' \(tone\).*give --extend rounds=N"):
        library.run(more, **options, resume=True)
    with pytest.raises(UserError, match="has 1 rounds; give more to go on: --extend rounds=2"):
        library.run(more, **options, extend=1)
    found = library.run(more, **options, extend=3)["rows"]
    assert {row["client"] for row in found} == {*(row["client"] for row in rows(short)), "late"}
    updates = {event["client"] for event in events(copy, "update") if event["round"] > 1}
    assert "late" in updates
    assert [event["clients"] for event in events(copy, "round_started")][:1] == [
        event["clients"] for event in events(short, "round_started")
    ]


def test_data_that_are_shared_out_anew_are_refused(home: Path, copy: Path) -> None:
    clients = [*settings()["clients"], {"id": "late", "tasks": [{"name": "mood", **TASKS["mood"]}]}]
    more = with_clients(home, clients)
    with pytest.raises(UserError, match=r"other data of client '\w+'; what it shares with late is shared out anew"):
        library.run(more, overrides=[*LEVEL, "rounds=1"], out=copy, extend=2)
    assert (copy / "results.json").exists()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"extend": 1, "rounds": 2}, "has 2 rounds; give more to go on: --extend rounds=4"),
        ({"extend": 2, "seed": 1}, "holds a run with another seed"),
        ({"extend": 2, "method": "local"}, "holds a run with another method"),
        ({"extend": 2, "resume": True}, "leave out --resume"),
        ({"extend": 2, "engine": "flower"}, "goes with --engine inprocess or ray"),
        ({"extend": 0}, "give a whole number of rounds"),
    ],
)
def test_what_cannot_be_extended_is_left_as_it_is(
    options: dict[str, Any], why: str, home: Path, short: Path, whole: Path
) -> None:
    options = dict(options)
    rounds = options.pop("rounds", 1)
    run = whole if rounds == 2 else short
    before = (run / "results.json").read_bytes()
    with pytest.raises(UserError, match=why):
        go(home, run, rounds=rounds, **options)
    assert (run / "results.json").read_bytes() == before


def test_a_run_that_is_not_there_or_has_not_ended_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run to extend"):
        go(home, tmp_path / "none", extend=2)
    cut_off(home / "tiny.yaml", tmp_path / "cut", "round_started", where={"round": 2}, overrides=[*LEVEL, "rounds=2"])
    with pytest.raises(UserError, match="has not ended; go on with it first"):
        go(home, tmp_path / "cut", rounds=2, extend=3)


def test_only_rounds_can_be_extended(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("run", home / "tiny.yaml", "--out", tmp_path, "--extend", "batch_size=3") == 2
    assert "only rounds can be extended; give --extend rounds=N" in capsys.readouterr().err
