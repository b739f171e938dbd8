"""What is kept of a fetch, and when a file is what the hub lists. Nobody is asked here."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from fedtap.hub import record
from fedtap.hub.faults import told
from fedtap.hub.record import Fetched
from fedtap.hub.repository import Repository, Seal, sound_path
from fedtap.hub.transfer import drop_damaged
from fedtap.runtime.errors import UserError

COMMIT = "a" * 40
HELLO = Seal(
    size=6, how="git", digest="ce013625030ba8dba906f756967f9e9ca394464a"
)  # `echo hello | git hash-object --stdin`
ABC = Seal(
    size=3, how="sha256", digest="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
)  # FIPS 180-2


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def fetched(**changes: Any) -> Fetched:
    given = {"kind": "dataset", "name": "o/n", "revision": COMMIT, "files": {"a/b.txt": HELLO}}
    return Fetched.model_validate(given | changes)


def test_a_file_is_known_by_size_and_digest(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"hello\n")
    assert HELLO.fits(file)
    assert HELLO.matches(file)
    file.write_bytes(b"hellO\n")
    assert HELLO.fits(file)
    assert not HELLO.matches(file)
    file.write_bytes(b"abc")
    assert not HELLO.fits(file)
    assert ABC.matches(file)
    assert not ABC.fits(tmp_path / "none")


def test_a_record_comes_back_as_it_was_and_stands_for_files_that_are_there(home: Path) -> None:
    made = fetched(parts={"": {"train": ["a/b.txt"]}})
    assert record.at_hand("dataset", "o/n") is None
    record.write(made)
    assert record.read("dataset", "o/n") == made
    assert record.read("model", "o/n") is None
    with pytest.raises(UserError, match=r"o/n: was fetched at aaaaaaaaaaaa, and a/b.txt of it is no longer in"):
        record.at_hand("dataset", "o/n")
    place = home / "hub" / "datasets--o--n" / "snapshots" / COMMIT / "a" / "b.txt"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"hello\n")
    assert record.at_hand("dataset", "o/n") == made
    place.write_bytes(b"hell\n")
    with pytest.raises(UserError, match=r"a/b\.txt"):
        record.at_hand("dataset", "o/n")


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {"../b.txt": {"size": 6, "how": "git", "digest": HELLO.digest}}},
        {"files": {"/etc/passwd": {"size": 6, "how": "git", "digest": HELLO.digest}}},
        {"files": {"b": {"size": -1, "how": "git", "digest": HELLO.digest}}},
        {"files": {"b": {"size": 6, "how": "git", "digest": "zz"}}},
        {"parts": {"": {"train": ["a/../../b.txt"]}}},
        {"revision": "../.."},
        {"name": "of/another"},
        {"format": 2},
        {"more": 1},
    ],
)
def test_a_record_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    record.write(fetched())
    place = record.place("dataset", "o/n")
    place.write_text(json.dumps(json.loads(place.read_text()) | changes))
    with pytest.raises(UserError, match=r"is no record of `fedtap fetch`; remove it, then fetch again"):
        record.read("dataset", "o/n")


@pytest.mark.parametrize("path", ["", "/a", "../a", "a/../b", "a/./..", "a\\b", "a\0b"])
def test_a_path_of_the_hub_stays_in_its_folder(path: str) -> None:
    with pytest.raises(ValueError, match="a file is called"):
        sound_path(path)
    assert sound_path("a/b.txt") == "a/b.txt"


def test_what_is_damaged_is_removed_with_its_content_and_the_rest_stays(tmp_path: Path) -> None:
    blob, folder = tmp_path / "blob", tmp_path / "snapshot"
    folder.mkdir()
    blob.write_bytes(b"hellO\n")
    (folder / "bad").symlink_to(blob)
    (folder / "good").write_bytes(b"abc")
    assert drop_damaged(folder, {"bad": HELLO, "good": ABC, "none": ABC}) == ["bad"]
    assert not blob.exists()
    assert [path.name for path in folder.iterdir()] == ["good"]


def test_files_of_a_repository_by_pattern() -> None:
    found = Repository("model", "o/n", COMMIT, {"config.json": HELLO, "x.safetensors": ABC, "x.bin": ABC})
    assert found.matching(["*.json", "*.safetensors"]) == ("config.json", "x.safetensors")
    assert found.size(["config.json", "x.bin"]) == 9


def test_whatever_else_goes_wrong_is_one_line() -> None:
    told_of = str(told(ValueError("no\nsuch \x1b[31m thing"), "model", "o/n"))
    assert told_of.startswith(r"o/n: cannot be fetched (no such \x1b[31m thing); give the command again")
