"""Words to ids and back, on the tiny vocabulary that is built in code, and on one of every sort."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors

from fedtap.backbones.untrained import tiny_vocabulary
from fedtap.backbones.vocabulary import Vocabulary
from vocabularies import SORTS

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


@pytest.mark.parametrize("kind", sorted(SORTS))
def test_every_sort_of_vocabulary_reads_and_writes(kind: str) -> None:
    pieces, pad = SORTS[kind]
    words = Vocabulary(pieces, lambda: torch.zeros(1, 1), pad=pad)
    ids = words.encode("yes it is red", limit=40)
    assert words.decode([*words.opening, *ids, words.pad_id]) == "yes it is red"
    assert [*words.opening, *ids] == list(pieces.encode("yes it is red", add_special_tokens=True).ids) or kind == "bert"
    assert words.pad_id == pieces.token_to_id(pad)
    assert words.encode("yes it is red", limit=3)[-1] == words.end_id
    assert words.opening == ([] if kind in ("t5", "siglip_text_model") else [words.start_id])
    assert words.never_written == (None if kind in ("clip_text_model", "siglip_text_model") else words.pad_id)
    marks = f"yes {pieces.id_to_token(words.end_id)} red"
    assert words.encode(marks, limit=60).count(words.end_id) == 1, "a special token in somebody's text is text"


def test_a_text_that_is_written_starts_from_the_padding_token_where_no_text_has_a_start() -> None:
    pieces, pad = SORTS["t5"]
    assert Vocabulary(pieces, lambda: torch.zeros(1, 1), pad=pad).start_id == pieces.token_to_id("<pad>") == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pad": "[NONE]"}, r"lacks a padding token \(\[NONE\]\)"),
        ({"pad": 10_000}, r"lacks a padding token \(10000\)"),
        ({"around": "$A"}, r"puts no end token after a text, and the vocabulary lacks"),
        ({"around": "</s> </s> $A </s>"}, r"puts 2 special tokens before a text and 1 after it"),
        ({"around": "</s> $A"}, r"puts 1 special tokens before a text and 0 after it"),
    ],
)
def test_a_tokenizer_without_the_tokens_that_are_needed_is_refused(change: dict[str, Any], says: str) -> None:
    pieces = Tokenizer.from_str(SORTS["t5"][0].to_str())
    if "around" in change:
        pieces.post_processor = processors.TemplateProcessing(single=change["around"], special_tokens=[("</s>", 1)])
    with pytest.raises(ValueError, match=says):
        Vocabulary(pieces, lambda: torch.zeros(1, 1), pad=change.get("pad"))


def test_unknown_words_are_told_by_whatever_token_stands_for_them() -> None:
    for kind, lost in (("bert", True), ("t5", True), ("deberta-v2", True), ("roberta", False)):
        pieces, pad = SORTS[kind]
        assert Vocabulary(pieces, lambda: torch.zeros(1, 1), pad=pad).lost("caf\u4e00", 40) == (False, lost), kind
