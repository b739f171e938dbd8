"""A run's folder as a page: what it says of a run that starts, goes on, ends, is broken off or dies; and of a stranger's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedtap.reporting.live import watched as module
from fedtap.reporting.live.condition import Condition, condition
from fedtap.reporting.live.watched import Watched
from fedtap.runtime.lock import FILE, ROUNDS, locked
from synthetic_run import write_run


class Clock:
    """Time that passes when a test says so; every look is enough for another."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += module.LOOK
        return self.now


def text_of(watched: Watched, name: str = "") -> str:
    shown = watched.page(name)
    assert shown is not None
    return shown.text.decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", finished=False)


def test_a_run_that_goes_on_shows_rounds_clients_losses_and_what_is_left(folder: Path) -> None:
    with locked(folder):
        text = text_of(Watched(folder, Clock()))
    assert 'data-live="going"' in text
    assert "The run is going on." in text
    assert '<progress max="8" value="4"' in text
    assert "of rounds are left" in text
    assert "What each client has come to" in text
    assert "When the federated model took over" in text
    assert "Training losses" in text


def test_what_is_appended_appears_and_an_equal_state_keeps_its_page(folder: Path) -> None:
    clock = Clock()
    watched = Watched(folder, clock)
    with locked(folder):
        first = watched.page()
        assert watched.page() is first
        with (folder / "events.jsonl").open("a") as log:
            for kind in ("round_started", "round_finished"):
                log.write(json.dumps({"event": kind, "round": 5, "time": 5000.0}) + "\n")
            log.write('{"event": "upda')
        clock.now += 1000
        second = watched.page()
    assert first is not None
    assert second is not None
    assert first.tag != second.tag
    assert b'<progress max="8" value="5"' in second.text


def test_a_page_that_took_long_is_not_made_again_at_once_but_the_end_is_told_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, spent = Clock(), iter(range(0, 10_000, 5))
    monkeypatch.setattr(module.time, "thread_time", lambda: float(next(spent)))  # every page takes five seconds
    watched = Watched(folder, clock)
    with locked(folder):
        first = watched.page()
        watched.tell({"event": "evaluating", "done": 1, "total": 6})
        assert watched.page() is first
        clock.now += module.SHARE * 5
        assert "testing clients" in text_of(watched)
        watched.tell({"event": "evaluating", "done": 2, "total": 6})
        assert 'value="1"' in text_of(watched)
    assert "stopped before its end" in text_of(watched)


def test_progress_that_no_log_holds_is_shown_before_there_is_a_run(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "new", Clock())
    watched.lives(True)
    assert Condition.STARTING.value in text_of(watched)
    watched.tell({"event": "encoding", "tower": "vision <b>", "done": 3, "total": 9})
    text = text_of(watched)
    assert '<progress max="9" value="3"' in text
    assert "vision &lt;b&gt;" in text


def test_an_ended_run_is_its_report_and_leads_to_no_file(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", outcomes=2)
    card = folder / "clients" / "c0" / "personal" / "README.md"
    card.parent.mkdir(parents=True)
    card.write_text("card")
    text = text_of(Watched(folder, Clock()))
    assert 'data-live="ended"' in text
    assert "On average personal models" in text
    assert "Examples, side by side" in text
    assert "README.md" not in text


def test_the_end_is_noticed(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    watched = Watched(folder, Clock())
    with locked(folder):
        assert "On average" not in text_of(watched)  # results may still change while somebody is at work on them
    assert "On average" in text_of(watched)


def test_the_lock_tells_a_run_that_died_from_one_that_was_broken_off(folder: Path) -> None:
    assert condition(folder) is Condition.BROKEN_OFF
    with locked(folder, name=ROUNDS):
        assert condition(folder) is Condition.RUNNING
    dies = "import os, signal, sys, pathlib\nfrom fedtap.runtime.lock import locked\n"
    dies += "with locked(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", dies, str(folder)], check=False)
    assert (folder / FILE).exists()
    assert condition(folder) is Condition.KILLED
    text = text_of(Watched(folder, Clock()))
    assert "The run has died" in text
    assert "--resume" in text
    with locked(folder):  # somebody goes on with it
        assert condition(folder) is Condition.RUNNING


def test_many_clients_have_pages_and_no_other_name_is_one(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", clients=251, rounds=2)
    watched = Watched(folder, Clock())
    assert 'href="report-pages/clients-0001.html"' in text_of(watched)
    shown = text_of(watched, "report-pages/clients-0001.html")
    assert "Clients c0 to c99" in shown
    assert 'href="../report.html"' in shown
    assert watched.page("report.html") == watched.page()
    for name in ("run.json", "../run/run.json", "report-pages/", "report-pages/clients-0009.html", "/etc/passwd"):
        assert watched.page(name) is None


def test_a_strangers_folder_is_shown_as_safely_as_it_is_reported_on(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", finished=False, about="<script>alert(1)</script>")
    with (folder / "events.jsonl").open("a") as log:
        hostile = {"event": "round_started", "round": 5, "time": 1.0, "clients": ["<img src=x onerror=alert(1)>\u202e"]}
        log.write(json.dumps(hostile) + "\n")
        log.write(json.dumps({"event": "failed", "round": 5, "client": "<b>", "why": "</script><b>"}) + "\n")
    text = text_of(Watched(folder, Clock()))
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "\u202e" not in text
    assert text.count("</script>") == 2
    assert 'data-live="stopped"' in text


def test_damage_is_said_on_the_page_and_goes_when_it_is_mended(folder: Path, tmp_path: Path) -> None:
    clock = Clock()
    watched = Watched(folder, clock)
    log = folder / "events.jsonl"
    whole = log.read_text()
    log.write_text(whole + "{}\n")
    assert "is damaged" in text_of(watched)
    log.write_text(whole)
    clock.now += 1000
    assert "is damaged" not in text_of(watched)
    (folder / "run.json").unlink()
    (tmp_path / "run.json").write_text("{}")
    os.symlink(tmp_path / "run.json", folder / "run.json")
    clock.now += 1000
    assert "leads out of the run&#39;s folder" in text_of(watched)
