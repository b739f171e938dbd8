"""Pages in a headless Chromium, where there is one: console, contrast, text alternatives, sorting, jumping, width."""

from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest
from page_check import look

from fedtap.reporting.comparison.page import comparison_page
from fedtap.reporting.run.report import write_report
from synthetic_comparison import synthetic_comparison
from synthetic_run import write_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        chromium.found() is None, reason=f"no browser here: one of {', '.join(chromium.NAMES)} is needed"
    ),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[chromium.Page]:
    with chromium.page() as page:
        yield page


def test_the_report_of_twelve_clients_is_sound_on_screen_and_phone_light_and_dark(
    tmp_path: Path, browser: chromium.Page
) -> None:
    found = look(browser, write_report(write_run(tmp_path, clients=11, outcomes=4)))
    assert found["faults"] == []
    assert found["figures"] > 20
    assert found["sorted"] > 20
    assert found["jumped"] > 15


def test_a_comparison_is_sound(tmp_path: Path, browser: chromium.Page) -> None:
    page = tmp_path / "comparison.html"
    page.write_text(comparison_page(*synthetic_comparison()), encoding="utf-8")
    found = look(browser, page)
    assert found["faults"] == []
    assert found["sorted"] > 20


BAD = """<!doctype html><meta name=viewport content="width=device-width"><body style="background:#fff;color:#999">
<a href="#gone">to nowhere</a><img src="data:image/png;base64,AAAA"><svg></svg><div style="width:{width}px">wide</div><i id=x></i>
<table class=sortable><caption>t</caption><thead><tr><th><button>a</button></th></tr></thead><tbody><tr><td>2<tr><td>1</table>
<b id=x></b><script>nope()</script>"""


@pytest.mark.parametrize("width", [500, 2000])
def test_what_is_wrong_with_a_page_is_found(tmp_path: Path, browser: chromium.Page, width: int) -> None:
    page = tmp_path / "bad.html"
    page.write_text(BAD.replace("{width}", str(width)))
    faults = "\n".join(look(browser, page)["faults"])
    for what in (
        "no alternative: <img>", "an svg without a name", "a picture that is none", "contrast 2.85", "is not sorted ascending",
        "out of order", "an id stands twice", "leads nowhere: #gone", "390 px, light: scrolls sideways", "nope is not defined",
    ):  # fmt: skip
        assert what in faults
    assert ("1280 px, light: scrolls sideways" in faults) is (width == 2000)


def test_a_decision_tells_its_losses_on_a_tap_and_without_a_script(tmp_path: Path, browser: chromium.Page) -> None:
    browser.open(write_report(write_run(tmp_path)), width=390, height=844)
    told = browser.value(
        "(() => { const mark = document.querySelector('.timeline td summary'); const text = mark.nextElementSibling;"
        " const before = text.checkVisibility(); mark.click(); return [before, text.checkVisibility(), text.textContent]; })()"
    )
    assert told[:2] == [False, True]
    assert "loss federated" in told[2]
