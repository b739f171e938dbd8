"""What a node remembers of its runs: whole whenever it is killed, its own, and never believed when it is not what was written."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fedtap.algorithms.base import ClientState
from fedtap.components import ComponentKey, ComponentState
from fedtap.deployment.journal import FILE, Journal
from fedtap.federation.store import ClientStore
from fedtap.runtime.errors import UserError
from fedtap.runtime.sealed import write_sealed_json

WRITER = """
import sys
from pathlib import Path
from fedtap.deployment.journal import Journal

journal = Journal(Path(sys.argv[1]), "painter", "run")
journal.check_data("digest")
print("ready", flush=True)
number = 0
while True:
    number += 1
    journal.note_rounds([number - 1, number])
"""


def journal(folder: Path, client: str = "painter", run: str = "run") -> Journal:
    return Journal(folder, client, run)


def test_what_was_noted_is_remembered_by_run(tmp_path: Path) -> None:
    assert journal(tmp_path).rounds() == []
    assert not journal(tmp_path).path.exists()  # to ask is to write nothing
    journal(tmp_path).note_rounds([1, 2])
    journal(tmp_path).check_data("digest")
    journal(tmp_path, run="other").note_rounds([7])
    assert journal(tmp_path).rounds() == [1, 2]
    assert journal(tmp_path, run="other").rounds() == [7]
    assert journal(tmp_path, run="third").rounds() == []
    journal(tmp_path).check_data("digest")
    journal(tmp_path, run="other").check_data("digest of another")  # each run has data of its own
    with pytest.raises(UserError, match=r"runs\.json: the client's data are others than when the run began"):
        journal(tmp_path).check_data("digest of another")


def test_what_any_run_has_spent_counts_for_all(tmp_path: Path) -> None:
    journal(tmp_path).note_rounds([1])
    assert not journal(tmp_path).spent
    journal(tmp_path, run="other").note_spent()
    assert journal(tmp_path).spent
    assert journal(tmp_path).rounds() == [1]


def test_a_journal_of_another_client_is_refused(tmp_path: Path) -> None:
    journal(tmp_path, "painter").note_rounds([1])
    other = journal(tmp_path, "reader")
    for ask in (other.rounds, lambda: other.spent, lambda: other.note_rounds([2]), other.note_spent):
        with pytest.raises(UserError, match=r"runs\.json: is of client 'painter', not of client 'reader'"):
            ask()


def test_a_file_of_another_kind_is_no_journal(tmp_path: Path) -> None:
    write_sealed_json(tmp_path / FILE, {"runs": {}}, {"what": "private steps", "client": "painter"})
    with pytest.raises(UserError, match="is of what 'private steps'"):
        journal(tmp_path).rounds()


def resealed(path: Path, runs: Any) -> None:
    write_sealed_json(path, {"runs": runs}, {"what": "runs", "client": "painter"})


SPOILED: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "a digit": lambda path: path.write_text(path.read_text().replace("1", "3", 1)),
    "no JSON": lambda path: path.write_text("{"),
    "another thing": lambda path: path.write_text("[]"),
    "no entries": lambda path: resealed(path, None),
    "a list of entries": lambda path: resealed(path, [1]),
    "an entry that is none": lambda path: resealed(path, {"run": 3}),
    "rounds of text": lambda path: resealed(path, {"run": {"rounds": ["one"]}}),
    "rounds below none": lambda path: resealed(path, {"run": {"rounds": [-1]}}),
    "data that are a number": lambda path: resealed(path, {"run": {"data": 3}}),
    "spent by a word": lambda path: resealed(path, {"run": {"spent": "no"}}),
    "another run's entry is none": lambda path: resealed(path, {"other": {"rounds": 3}}),
    "more than an entry": lambda path: resealed(path, {"run": {"more": 1}}),
}


@pytest.mark.parametrize("what", SPOILED)
def test_a_journal_that_was_changed_is_not_believed_and_not_written_over(what: str, tmp_path: Path) -> None:
    known = journal(tmp_path)
    known.note_rounds([1])
    SPOILED[what](known.path)
    before = known.path.read_bytes()
    for ask in (known.rounds, lambda: known.spent, lambda: known.note_rounds([2]), known.note_spent):
        with pytest.raises(UserError, match=r"runs\.json: .*restore it from a copy") as told:
            ask()
        assert len(str(told.value).splitlines()) == 1
    assert known.path.read_bytes() == before


def test_a_node_that_is_killed_while_it_writes_finds_a_whole_journal(tmp_path: Path) -> None:
    draw, last = random.Random(14), 0
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            time.sleep(draw.random() / 5)
            child.send_signal(signal.SIGKILL)
        found = journal(folder)
        rounds = found.rounds()
        assert rounds in ([], [rounds[-1] - 1, rounds[-1]] if rounds else [])
        found.check_data("digest")  # what was noted first is never lost
        with pytest.raises(UserError, match="data are others"):
            found.check_data("other")
        found.note_rounds([5])
        assert found.rounds() == [5]
        last = max(last, *rounds, 0)
    assert last > 0  # it was killed while it wrote


def states(folder: Path, *rounds: int) -> ClientStore:
    store = ClientStore(folder, "f" * 32)
    for number in rounds:
        state = ComponentState({ComponentKey("shared"): {"w": torch.full((2,), float(number))}})
        store.save("painter", number, ClientState({"personal": state}))
    return store


def test_a_node_that_is_killed_between_state_and_journal_goes_on(tmp_path: Path) -> None:
    journal(tmp_path).note_rounds(states(tmp_path / "run", 1).rounds("painter"))
    store = states(tmp_path / "run", 2, 3)  # killed before either was noted
    fresh = ClientStore(tmp_path / "run", "f" * 32)
    fresh.expect("painter", journal(tmp_path).rounds())
    assert fresh.load("painter", before=4) is not None
    assert store.rounds("painter") == [2, 3]


def test_a_run_whose_states_are_gone_does_not_begin_anew(tmp_path: Path) -> None:
    journal(tmp_path).note_rounds(states(tmp_path / "run", 1, 2).rounds("painter"))
    for path in (tmp_path / "run" / "painter").iterdir():
        path.unlink()
    fresh = ClientStore(tmp_path / "run", "f" * 32)
    fresh.expect("painter", journal(tmp_path).rounds())
    with pytest.raises(UserError, match="missing, and client 'painter' has taken part up to round 2"):
        fresh.load("painter", before=3)
    # An older copy of the journal knows of fewer rounds, and still of one.
    told = json.loads(journal(tmp_path).path.read_text())["runs"]
    resealed(journal(tmp_path).path, {"run": {**told["run"], "rounds": [1]}})
    fresh = ClientStore(tmp_path / "run", "f" * 32)
    fresh.expect("painter", journal(tmp_path).rounds())
    with pytest.raises(UserError, match="has taken part up to round 1"):
        fresh.load("painter", before=3)
