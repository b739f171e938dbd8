"""Words to ids and back, on the tiny vocabulary that is built in code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtap.backbones.untrained import tiny_vocabulary

WORDS = tiny_vocabulary()


def test_ids_of_a_short_text_by_hand() -> None:
    pieces = WORDS._pieces
    expected = [pieces.token_to_id(piece) for piece in ("what", "color", "z", "##q", "?", "[SEP]")]
    assert WORDS.encode("What  COLOR zq?", limit=9) == expected
    assert None not in expected


def test_cut_texts_still_end_with_the_end_token() -> None:
    whole = WORDS.encode("is there a red circle", limit=9)
    assert len(whole) == 6
    assert WORDS.encode("is there a red circle", limit=4) == [*whole[:3], WORDS.end_id]
    assert WORDS.encode("is there a red circle", limit=1) == [WORDS.end_id]
    assert WORDS.encode("", limit=4) == [WORDS.end_id]
    with pytest.raises(ValueError, match="limit=0"):
        WORDS.encode("a", limit=0)


def test_decode_stops_at_the_end_token_and_skips_padding_and_start() -> None:
    red, blue = WORDS.encode("red", 9)[0], WORDS.encode("blue", 9)[0]
    assert WORDS.decode([WORDS.start_id, red, WORDS.pad_id, blue, WORDS.end_id, red]) == "red blue"
    assert WORDS.decode([]) == ""
    assert WORDS.decode([10**6]) == "[UNK]"


def test_special_tokens_in_the_users_text_are_text() -> None:
    ids = WORDS.encode("red [SEP] blue [PAD]", limit=64)
    assert ids.count(WORDS.end_id) == 1
    assert ids[-1] == WORDS.end_id
    assert WORDS.pad_id not in ids
    assert WORDS.decode(ids) == "red [sep] blue [pad]"


@pytest.mark.parametrize(
    "text",
    [
        "it's a well-known film, isn't it?",
        'he said "yes, it is." and left.',
        "the answer (if any) is 3.5 of 1,000; 90% of it costs $5!",
        "and/or: both.",
        "caf\u00e9".replace("\u00e9", "e"),
    ],
)
def test_plain_sentences_come_back(text: str) -> None:
    assert WORDS.decode(WORDS.encode(text, limit=200)) == text


def test_capitals_and_accents_are_normalised() -> None:
    assert WORDS.decode(WORDS.encode("A Caf\u00e9 in Z\u00fcrich", limit=99)) == "a cafe in zurich"


@given(st.lists(st.text("abcxyz019", min_size=1, max_size=6), min_size=1, max_size=8))
def test_words_come_back_whatever_they_are(words: list[str]) -> None:
    text = " ".join(words) + "."
    assert WORDS.decode(WORDS.encode(text, limit=500)) == text


def test_embeddings_are_frozen_and_one_row_a_token() -> None:
    assert tuple(WORDS.embedding.shape) == (len(WORDS), 32)
    assert not WORDS.embedding.requires_grad
    assert WORDS.pad_id == 0
