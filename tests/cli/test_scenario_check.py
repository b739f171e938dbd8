"""``fedtap scenario check``: everything that is wrong with the data, at once, and what is to be known of data that are sound."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedtap.cli import main

SCENARIO = """
rounds: 1
local_steps: 1
backbone: {vision: untrained-tiny, text: untrained-tiny, image_size: 32}
network: {dim: 16, heads: 2}
training: {finetune_steps: 1}
data: {train: 20, validation: 6, test: 8}
clients:
  - id: ward
    tasks:
      - {name: scans, type: classification, modality: image, domain: d, source: folder, path: scans, classes: [cat, dog]}
  - id: desk
    tasks:
      - {name: notes, type: classification, modality: text, domain: d, source: csv, path: notes.csv, classes: [cat, dog]}
"""

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("FEDTAP_CACHE", str(tmp_path / "cache"))

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for number in range(60):
        file = tmp_path / f"scans/{'cat' if number % 2 else 'dog'}/{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (6, 6, 3), dtype=np.uint8)).save(file)
    rows = [f"note {number},{'cat' if number % 2 else 'dog'}" for number in range(60)]
    (tmp_path / "notes.csv").write_text("\n".join(["text,label", *rows]))
    (tmp_path / "s.yaml").write_text(SCENARIO)
    return tmp_path / "s.yaml"


def spoil(folder: Path) -> None:
    for name in ("cat/1.png", "dog/2.png"):
        (folder / "scans" / name).write_bytes(b"no picture")
    with (folder / "notes.csv").open("a") as file:
        file.write("\nfields,too,many\n")


def test_sound_data_are_a_table_of_examples_and_classes(scenario: Path, call: Call) -> None:
    code, said, _ = call("scenario", "check", scenario)
    assert code == 0
    row = next(line.split() for line in said.splitlines() if line.strip().startswith("ward"))
    assert row[:3] == ["ward", "scans", "folder"]
    assert all(int(number) > 2 for number in row[3:6])
    assert row[6] == "2/2"
    assert said.rstrip().endswith("s.yaml: the data are sound")


def test_all_faults_are_listed_and_the_exit_code_is_two(scenario: Path, call: Call) -> None:
    spoil(scenario.parent)
    code, said, complained = call("scenario", "check", scenario)
    assert (code, said) == (2, "")
    *faults, last = complained.strip().splitlines()
    assert [part in line for part, line in zip(("cat/1.png", "dog/2.png", "notes.csv:62"), faults, strict=True)] == [
        True
    ] * 3
    assert "client 'ward', task 'scans'" in faults[0]
    assert last.endswith("s.yaml: 3 faults; mend them, then check again")


def test_rows_with_the_same_fault_share_a_line_and_hide_no_other_fault(scenario: Path, call: Call) -> None:
    rows = [f"note {number},{'cta' if number else 'dog'}" for number in range(150)]
    (scenario.parent / "notes.csv").write_text("\n".join(["text,label", *rows, ",cat", "more,dgo"]))
    code, _, told = call("scenario", "check", scenario)
    assert code == 2
    lines = [line for line in told.splitlines() if "notes.csv" in line]
    assert len(lines) == 3
    assert "notes.csv:3 and 99 more rows: " in lines[0]
    assert "cta" in lines[0]
    assert "notes.csv:152: " in lines[1]
    assert "dgo" in lines[2]
    assert "... and 49 more like these" in told
    assert "151 faults" in told


def test_what_needs_no_data_is_told_with_the_rest(scenario: Path, call: Call) -> None:
    (scenario.parent / "scans/cat/1.png").write_bytes(b"no picture")
    code, _, complained = call("scenario", "check", scenario, "--set", "backbone.vision=no-such-tower")
    assert code == 2
    assert "unknown tower 'no-such-tower'" in complained
    assert "cat/1.png" in complained
    assert "2 faults" in complained


def test_faults_and_remarks_as_json(scenario: Path, call: Call) -> None:
    spoil(scenario.parent)
    code, said, _ = call("scenario", "check", scenario, "--json")
    assert code == 2
    assert json.loads(said)["number"] == 3
    code, said, _ = call("scenario", "check", scenario, "--json", "--set", "data.on_unreadable=skip")
    assert code == 0
    found = json.loads(said)
    assert [each["classes"] for each in found["tasks"]] == [[2, 2], [2, 2]]
    assert [event["examples"] for event in found["remarks"]] == [2, 1]


def test_skipped_examples_are_counted_and_named(scenario: Path, call: Call) -> None:
    spoil(scenario.parent)
    code, said, _ = call("scenario", "check", scenario, "--set", "data.on_unreadable=skip")
    assert code == 0
    assert "ward: scans: 2 examples skipped that cannot be read" in said
    assert "cat/1.png: not a readable image" in said
    assert "dog/2.png: not a readable image" in said


def test_dark_pictures_are_remarked_on(scenario: Path, call: Call) -> None:
    for path in (scenario.parent / "scans").rglob("*.png"):
        wide = np.random.default_rng(int(path.stem)).integers(0, 4096, (6, 6), dtype=np.uint16)
        Image.fromarray(wide).save(path)
    code, said, _ = call("scenario", "check", scenario)
    assert code == 0
    assert "scans: its 60 pictures use 6.2 % of the range of their values" in said


def test_help_says_what_is_checked(call: Call) -> None:
    code, said, _ = call("scenario", "check", "--help")
    assert code == 0
    for word in ("all together", "exit code is 2", "skipped", "fedtap scenario check my.yaml"):
        assert word in " ".join(said.split())


def test_a_run_refuses_before_its_first_round_and_says_how_much_more_is_wrong(scenario: Path, call: Call) -> None:
    spoil(scenario.parent)
    code, _, complained = call("run", scenario, "--out", scenario.parent / "run", "--device", "cpu")
    assert code == 2
    assert "cat/1.png: not a readable image" in complained
    assert "(and 2 more faults: `fedtap scenario check` lists them)" in complained
    assert not (scenario.parent / "run/events.jsonl").exists()


def test_a_run_writes_what_it_skipped_into_its_log(scenario: Path, call: Call) -> None:
    spoil(scenario.parent)
    out = scenario.parent / "run"
    code, _, told = call("run", scenario, "--out", out, "--device", "cpu", "--set", "data.on_unreadable=skip")
    assert code == 0, told
    assert "ward: scans: 2 examples skipped that cannot be read, the first: " in told
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    skipped = [event for event in events if event["event"] == "skipped"]
    assert [(event["examples"], len(event["why"])) for event in skipped] == [(2, 2), (1, 1)]
    assert events.index(skipped[0]) < next(n for n, event in enumerate(events) if event["event"] == "round_started")
    report = (out / "report.html").read_text(encoding="utf-8")
    for line in ("scans: 2 examples skipped that cannot be read", "notes: 1 example skipped that cannot be read"):
        assert (told.count(line), report.count(line)) == (1, 1)
    assert "The data of 2 clients fall short" in report


def test_where_data_fall_short_is_said_by_the_check_in_the_words_of_the_plan(scenario: Path, call: Call) -> None:
    (scenario.parent / "scans/bird").mkdir()
    (scenario.parent / "scans/bird/1.png").write_bytes(b"no picture")
    asked = ("--set", "data.test=99", "--set", "data.on_unreadable=skip")
    spoil(scenario.parent)
    _, checked, _ = call("scenario", "check", scenario, *asked)
    _, planned, _ = call("scenario", "plan", scenario, *asked)
    for said in (checked, planned):
        assert said.count("ward: scans: not taken: 1 sub-folder of no class: 'bird' (1 picture)") == 1
        assert said.count("ward: scans: 2 examples skipped that cannot be read, the first: ") == 1
        assert said.count(" of 99 asked for") == 2
    found = [json.loads(call("scenario", word, scenario, *asked, "--json")[1]) for word in ("check", "plan")]
    assert found[0]["short"] == found[1]["data"]["short"] != {}
    by_name = [sorted(each["remarks"], key=str) for each in (found[0], found[1]["data"])]
    assert by_name[0] == by_name[1] != []
    (scenario.parent / "notes.csv").write_text("text\n")
    _, planned, _ = call("scenario", "plan", scenario)  # a plan needs no data
    assert "(and 1 more fault: `fedtap scenario check` lists them)" in planned  # of the pictures
    assert "notes.csv:1: no column 'label'" in planned
