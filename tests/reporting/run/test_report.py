"""The report: one file without links, complete, escaped, and readable whatever the run lacks."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fedtap.reporting.run.report import write_report
from fedtap.runtime.errors import UserError
from synthetic_run import write_run

VOID = {"meta", "br", "hr", "col", "img", "link", "input"}


class Page(HTMLParser):
    """What a browser would see: tags in balance, texts, attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data + " "

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def report(folder: Path) -> tuple[str, Page]:
    html = write_report(folder).read_text(encoding="utf-8")
    return html, Page(html)


def test_a_finished_run_is_told_whole(tmp_path: Path) -> None:
    html, page = report(write_run(tmp_path))
    for expected in (
        "synthetic", "method tap · seed 3 · fedtap 0.1.0", "What happened", "8 / 8", "Clients that never took part",
        "Cross-client test", "When the federated model took over", "Distillation", "Training losses", "question only",
        "image classification", "4 min 4 s", "Every metric of every model",
    ):  # fmt: skip
        assert expected in page.text, expected
    assert page.count("svg") == 4 + 2  # losses of four families; bytes and seconds
    assert "not finished" not in page.text
    assert "://" not in html  # nothing to fetch, and nowhere to leak to
    assert page.count("link") == page.count("img") == 0
    assert page.count("script") == 1  # its own, which sorts tables


def test_the_numbers_in_the_table_are_those_of_the_results(tmp_path: Path) -> None:
    _, page = report(write_run(tmp_path))
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    primary = [r for r in rows if r["task"] == "digits" and r["metric"] == "accuracy" and r["split"] == "test"]
    assert len(primary) == 8  # two clients, three models and a baseline each
    for row in primary:
        assert f" {row['value']:.3f} " in page.text.replace("\n", " ")


def test_the_decisions_counted_are_those_of_the_log(tmp_path: Path) -> None:
    _, page = report(write_run(tmp_path))
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    weighed = [e for e in events if e.get("kind") == "replace" and e["personal_loss"] is not None]
    replaced = sum(e["outcome"] == "replaced" for e in weighed)
    assert 0 < replaced < len(weighed)
    assert f"in {replaced} of {len(weighed)} decisions and kept in the other {len(weighed) - replaced}" in page.text
    assert sum(attrs.get("aria-label") == "replaced" for _, attrs in page.tags) == replaced


def test_what_ended_a_personal_model_is_told_by_its_name(tmp_path: Path) -> None:
    folder = write_run(tmp_path, decisions=False, method="tap_best")
    made = [
        ("mix: 0.5 of the way from the fine-tuned slice, chosen on validation", "kept"),
        ("mix: 0 of the way from the fine-tuned slice, chosen on validation", "reverted"),
        ("refit: pull 3, chosen on validation", "kept"),
    ]
    with (folder / "events.jsonl").open("a") as log:
        for number, (rule, outcome) in enumerate(made):
            what = {"client": "c0", "task": f"t{number}", "kind": "distil", "outcome": outcome, "rule": rule}
            losses = {"federated_loss": 0.25, "personal_loss": 0.5}
            log.write(json.dumps({"event": "decision", "round": 9, "time": 1, **what, **losses}) + "\n")
    _, page = report(folder)
    text = " ".join(page.text.split())
    assert (
        "the fine-tuned model moved back towards the client's personal one for 1 of 2 client tasks, and stayed" in text
    )
    assert "Heads were refitted to the client's own data in closed form for 1 of 1 client task." in text
    assert "What came back of the personal model" in text
    assert "Heads refitted" in text
    assert "istillation" not in text
    for rule, _ in made:
        assert rule in text


def test_figures_and_tables_say_what_they_are(tmp_path: Path) -> None:
    _, page = report(write_run(tmp_path))
    assert all(attrs.get("role") == "img" and attrs.get("aria-label") for tag, attrs in page.tags if tag == "svg")
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.tags if tag == "th")
    assert page.count("caption") == page.count("table")
    ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))


def test_equal_runs_make_equal_reports(tmp_path: Path) -> None:
    first, _ = report(write_run(tmp_path / "a"))
    second, _ = report(write_run(tmp_path / "b"))
    assert first == second


def test_text_from_outside_is_escaped(tmp_path: Path) -> None:
    nasty = "<script>alert('x')</script> & $about \"quoted\""
    folder = write_run(tmp_path, about=nasty)
    with (folder / "events.jsonl").open("a") as log:
        log.write(json.dumps({"event": "rejected", "round": 1, "time": 1, "client": nasty, "why": nasty}) + "\n")
    html, page = report(folder)
    assert page.count("script") == 1
    assert page.text.count(nasty) >= 2  # the browser shows it as it was written
    assert "<script>alert" not in html


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    _, page = report(write_run(tmp_path, finished=False))
    assert "This run is not finished" in page.text
    assert "So far 4 of 8 rounds are done." in page.text
    assert "Training losses" in page.text
    assert "Results on" not in page.text


def test_a_run_that_has_just_started_has_a_report(tmp_path: Path) -> None:
    folder = write_run(tmp_path, finished=False)
    (folder / "events.jsonl").unlink()
    _, page = report(folder)
    assert "So far 0 of 8 rounds are done." in page.text
    assert page.count("svg") == 0


def test_a_method_without_decisions_has_no_empty_sections(tmp_path: Path) -> None:
    _, page = report(write_run(tmp_path, decisions=False, method="fedavg"))
    assert "took over" not in page.text
    assert "Distillation" not in page.text
    assert "decision" not in page.text
    assert "Results on each client's own test data" in page.text


def test_two_hundred_clients_are_collapsed_but_all_there(tmp_path: Path) -> None:
    _, page = report(write_run(tmp_path, clients=200, rounds=20))
    assert page.count("details") >= 4
    assert "All 266 client tasks" in page.text
    assert " c199 " in page.text.replace("\n", " ")


@pytest.mark.parametrize("name", ["run.json", "results.json", "cost.json"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    write_run(tmp_path)
    (tmp_path / name).write_text('{"rows": ')
    with pytest.raises(UserError, match=rf"{name}: not a readable JSON"):
        write_report(tmp_path)


def test_results_of_another_shape_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "results.json").write_text('{"rows": [{"client": "c0"}]}')
    with pytest.raises(UserError, match=r"results\.json: rows: '0\.task': Field required; restore it from a copy"):
        write_report(tmp_path)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run\.json: the file is missing"):
        write_report(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        write_report(tmp_path / "nowhere")
