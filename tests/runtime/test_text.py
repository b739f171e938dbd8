"""Text from outside turns nothing: not a terminal, not a line, not a page."""

import io
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtap.cli.screen import say, say_json, show_table, write_what_the_output_can
from fedtap.federation.rounds import one_short_line
from fedtap.reporting.cards import _plain
from fedtap.reporting.html.templating import piece
from fedtap.runtime.text import neutral, neutral_lines, one_line

ACTIVE = ["\x1b[31m", "\x07", "\x9b31m", "\u202e", "\u2066", "\u200f", "\u2028", "\ufeff", "\x00"]


@given(st.text())
def test_nothing_active_is_left_and_what_is_neutral_stays(text: str) -> None:
    made = neutral(text)
    assert neutral(made) == made
    assert not any(sign in made for sign in ("\x1b", "\x9b", "\u202e", "\u2067", "\n", "\r"))
    if text.isprintable():
        assert made == text


def test_words_that_are_spelled_with_joiners_stay() -> None:
    for word in ("می\u200cخواهم", "👩\u200d🔬", "e\u0301té", "雪"):
        assert one_line(word) == word


def test_lines_stay_lines() -> None:
    assert neutral_lines("a\x1b\nb") == "a\\x1b\nb"


@pytest.mark.parametrize("sign", ACTIVE)
def test_no_way_out_lets_an_active_sign_through(sign: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"cat{sign}dog"
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="utf-8", write_through=True))
    write_what_the_output_can()
    say(text)
    show_table(["class"], [[text]], title=text)
    say_json({"label": text})
    ways = [written.getvalue().decode(), one_short_line(text), _plain(text), str(piece("link", text, text))]
    for way in ways:
        assert sign not in way
        assert "cat" in way
    assert json.loads(written.getvalue().decode().partition("{")[1] + written.getvalue().decode().partition("{")[2])
