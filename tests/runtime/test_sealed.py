"""A seal: whatever byte is changed is noticed, and whose a file is; and it stays a file that others can read."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fedtap.runtime.errors import UserError
from fedtap.runtime.manifest import check_files, read_listed, write_manifest
from fedtap.runtime.sealed import read_sealed_json, sealed_json, sha256_of, write_sealed_json
from fedtap.runtime.sealed_tensors import read_sealed_tensors, sealed_tensors, write_sealed_tensors
from fedtap.runtime.storage import clear_scraps, json_bytes, write_json

OF = {"what": "state", "run": "r", "client": "é", "round": 3}
TENSORS = {"a:w": torch.arange(6.0).view(2, 3), "b:v": torch.tensor([1, 2])}
FACTS = {"said": '{"digest":"' + "0" * 64, "n": 0.1 + 0.2}


def test_tensors_and_facts_come_back_and_safetensors_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_sealed_tensors(path, TENSORS, FACTS, OF)
    tensors, facts = read_sealed_tensors(path, OF, "mend")
    assert facts == FACTS
    for found in (tensors, load_file(path)):
        assert found.keys() == TENSORS.keys()
        assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)
    assert sealed_tensors(TENSORS, FACTS, OF) == path.read_bytes()


def test_every_flipped_bit_of_a_tensor_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    whole = sealed_tensors(TENSORS, FACTS, OF)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"x\.safetensors: damaged or truncated .*; the mend$"):
            read_sealed_tensors(path, OF, "the mend")
    for wrong in (whole + b"\0", whole[:-1], b""):
        path.write_bytes(wrong)
        with pytest.raises(UserError, match="damaged or truncated"):
            read_sealed_tensors(path, OF, "the mend")


def test_every_flipped_bit_of_a_json_file_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    value = {"made": True, "n": 0.1 + 0.2, "who": "é"}
    write_sealed_json(path, value, OF)
    assert read_sealed_json(path, OF) == value
    assert json.loads(path.read_text()).items() >= value.items()
    whole, refused = path.read_bytes(), 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            assert read_sealed_json(path, OF) == value  # a blank became another
        except UserError as error:
            refused += str(path) in str(error) and "\n" not in str(error)
    assert refused > 0.8 * len(whole)


@pytest.mark.parametrize("key", list(OF))
def test_what_is_of_something_else_is_refused(key: str, tmp_path: Path) -> None:
    write_sealed_tensors(tmp_path / "x.safetensors", TENSORS, FACTS, {**OF, key: "other"})
    write_sealed_json(tmp_path / "x.json", {}, {**OF, key: "other"})
    with pytest.raises(UserError, match=f"is of {key} 'other', not of {key}"):
        read_sealed_tensors(tmp_path / "x.safetensors", OF, "mend")
    with pytest.raises(UserError, match=f"is of {key} 'other', not of {key}"):
        read_sealed_json(tmp_path / "x.json", OF)


@pytest.mark.parametrize("value", [[], 3, {}, {"digest": "0"}, {"digest": 1, "of": {}}, {"of": OF}])
def test_what_has_no_seal_is_refused(value: object, tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", value)
    with pytest.raises(UserError, match="has no seal"):
        read_sealed_json(tmp_path / "x.json", OF)


def test_a_seal_covers_the_identity() -> None:
    assert sealed_json({"a": 1}, {"what": "x"})["digest"] != sealed_json({"a": 1}, {"what": "y"})["digest"]


def test_digests_of_files_of_a_fixed_form(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_bytes(b"one\ntwo\n")
    write_manifest(tmp_path, "r", {"cost.json": json_bytes({"seconds": 1})}, {log.name: sha256_of(log)})
    with pytest.raises(UserError, match=r"cost\.json: the file is missing"):
        check_files(tmp_path, "r")
    write_json(tmp_path / "cost.json", {"seconds": 1})
    check_files(tmp_path, "r")
    assert read_listed(tmp_path, "r", "cost.json") == {"seconds": 1}
    with pytest.raises(UserError, match="is of run 'r', not of run 'q'"):
        check_files(tmp_path, "q")
    write_json(tmp_path / "cost.json", {"seconds": 2})
    with pytest.raises(UserError, match=r"cost\.json: was changed after the run had ended"):
        read_listed(tmp_path, "r", "cost.json")
    write_json(tmp_path / "cost.json", {"seconds": 1})
    log.write_bytes(b"one\ntwO\n")
    with pytest.raises(UserError, match=r"events\.jsonl: was changed"):
        check_files(tmp_path, "r")
    (tmp_path / "digests.json").unlink()
    with pytest.raises(UserError, match=r"digests\.json: missing"):
        check_files(tmp_path, "r")


def test_scraps_are_cleared_and_nothing_else(tmp_path: Path) -> None:
    kept = [tmp_path / name for name in ("notes.txt", ".lock", ".rounds.lock", "apart/.a.json.abcd1234", ".hidden")]
    scraps = [tmp_path / name for name in (".run.json.k3j2h1_x", "clients/.round-0003.safetensors.abcd1234")]
    for path in (*kept, *scraps):
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    assert sorted(clear_scraps(tmp_path, apart=frozenset({"apart"}))) == sorted(scraps)
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in scraps)
