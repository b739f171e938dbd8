"""The report of many clients: a page that stays small, and every client on one of the pages beside it."""

import json
import re
from pathlib import Path

import pytest

from fedtap.reporting.run import pages
from fedtap.reporting.run.report import write_report
from synthetic_run import write_run


def links(html: str) -> list[str]:
    return re.findall(r'href="(?!#)([^"]+)"', html)


def test_a_report_of_few_clients_is_one_file(tmp_path: Path) -> None:
    write_run(tmp_path, clients=pages.MOST - 1)
    report = write_report(tmp_path)
    assert not (tmp_path / pages.FOLDER).exists()
    assert links(report.read_text()) == []


def test_every_client_of_many_is_told_of_on_one_page_with_all_that_is_its_own(tmp_path: Path) -> None:
    write_run(tmp_path, clients=269)
    report = write_report(tmp_path)
    html = report.read_text()
    files = links(html)
    assert files == [f"report-pages/clients-000{number}.html" for number in (1, 2, 3)]
    told = [(tmp_path / file).read_text() for file in files]
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    for number in range(270):
        with_it = [number // 100 == at for at in range(3)]
        assert [f">c{number}<" in text for text in told] == with_it, number
    assert ">c7<" not in html
    for number, text in enumerate(told):
        its = {f"c{client}" for client in range(100 * number, min(270, 100 * number + 100))}
        shown = sum(row["client"] in its for row in rows)
        assert f"Every metric of every model ({shown:,} rows)" in text
        assert links(text) == ["../report.html"]
        assert (tmp_path / pages.FOLDER / links(text)[0]).resolve() == report.resolve()
    for each in ("When the federated model took over", "Distillation"):
        assert any(each in text for text in told)
        assert f"<h2>{each}" not in html
    assert ["Clients that never took part" in text for text in told] == [False, False, True]  # c269
    for each in ("Clients c0 to c99", "Mean over client tasks", "Training losses", "What happened"):
        assert each in html
    assert "Every metric" not in html


def test_the_page_of_two_thousand_clients_is_below_two_megabytes(tmp_path: Path) -> None:
    write_run(tmp_path, clients=1999, rounds=3)
    write_report(tmp_path)
    written = [tmp_path / "report.html", *(tmp_path / pages.FOLDER).iterdir()]
    assert len(written) == 21
    assert max(file.stat().st_size for file in written) < 1_000_000


def test_pages_of_an_earlier_report_do_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, clients=259)
    write_report(tmp_path)
    monkeypatch.setattr(pages, "MOST", 1000)
    write_report(tmp_path)
    assert list((tmp_path / pages.FOLDER).iterdir()) == []
    assert links((tmp_path / "report.html").read_text()) == []


def test_whoever_failed_is_on_its_clients_page(tmp_path: Path) -> None:
    write_run(tmp_path, clients=259)
    with (tmp_path / "events.jsonl").open("a") as log:
        log.write(
            json.dumps({"event": "failed", "round": 2, "client": "c150", "why": "lost its way", "time": 1.0}) + "\n"
        )
        log.write(json.dumps({"event": "refused", "round": 0, "node": "n7", "why": "unknown", "time": 1.0}) + "\n")
    html = write_report(tmp_path).read_text()
    assert "lost its way" in (tmp_path / pages.FOLDER / "clients-0002.html").read_text()
    assert "lost its way" not in html
    assert "n7" in html
    assert "1 participation failed" in html
