"""What is written where the output is not in UTF-8: no sign ends a command, and JSON loses nothing."""

import io
import json
import sys

import pytest

from fedtap.cli.screen import PLAIN, say, say_json, write_what_the_output_can

NARROW = ("ascii", "latin-1", "cp1252")


def into(encoding: str, monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """Return what is written to a standard output of an encoding from here on."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, write_through=True))
    write_what_the_output_can()
    return written


@pytest.mark.parametrize("encoding", NARROW)
def test_our_own_signs_have_a_plain_form_and_others_a_question_mark(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = into(encoding, monkeypatch)
    say("accuracy ↑, MSE ↓, 雪 and 🙂")
    assert written.getvalue().decode("ascii").rstrip() == "accuracy ^, MSE v, ? and ?"
    assert all(sign.isascii() for sign in PLAIN.values())


@pytest.mark.parametrize("encoding", NARROW)
def test_json_is_escaped_and_read_as_it_was(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = into(encoding, monkeypatch)
    say_json({"text": "雪 ↑ é"})
    assert json.loads(written.getvalue().decode("ascii")) == {"text": "雪 ↑ é"}


def test_a_utf8_output_has_every_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    written = into("utf-8", monkeypatch)
    say_json({"text": "雪"})
    say("↑")
    assert written.getvalue().decode() == '{\n  "text": "雪"\n}\n↑\n'
