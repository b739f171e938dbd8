"""Small tokenizers of every sort that text towers come with: word pieces, bytes, unigrams; special tokens where each has them."""

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from fedtap.backbones.untrained import tiny_pieces

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def word_pieces(start: str = "[CLS]", end: str = "[SEP]") -> Tokenizer:
    """BERT's, with its special tokens put around a text by a post-processor."""
    pieces = tiny_pieces()
    pieces.add_special_tokens([start, end])
    return _around(pieces, start, end)


def byte_pairs(specials: tuple[str, ...], start: str, end: str) -> Tokenizer:
    """GPT-2's and RoBERTa's: every text is bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merged = [("r", "e"), ("re", "d"), ("Ġ", "i"), ("Ġi", "s")]
    vocabulary = [*specials, *alphabet, *("".join(pair) for pair in merged)]
    pieces = Tokenizer(models.BPE({piece: at for at, piece in enumerate(vocabulary)}, merged))
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    pieces.add_special_tokens(list(specials))
    return _around(pieces, start, end)


def clip_pairs() -> Tokenizer:
    """CLIP's: lower case, the end of a word is part of its last token, and the end token pads too."""
    start, end = "<|startoftext|>", "<|endoftext|>"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = [*alphabet, *(f"{letter}</w>" for letter in alphabet), start, end]
    pieces = Tokenizer(
        models.BPE({piece: at for at, piece in enumerate(vocabulary)}, [], unk_token=end, end_of_word_suffix="</w>")
    )
    pieces.normalizer = normalizers.Lowercase()
    words = Regex(r"[a-z]+|[0-9]|[^\sa-z0-9]+")
    pieces.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    pieces.decoder = decoders.ByteLevel()
    pieces.add_special_tokens([start, end])
    return _around(pieces, start, end)


def unigrams(specials: tuple[str, ...], unknown: str, start: str | None, end: str) -> Tokenizer:
    """SentencePiece's, as T5 and XLM-R have it: a space is the beginning of a word."""
    words = [f"▁{word}" for word in ("yes", "it", "is", "red", "a", "film")]
    pieces = [*((each, 0.0) for each in specials), *((word, -2.0) for word in words), ("▁", -3.0)]
    pieces += [(letter, -4.0) for letter in f"{LETTERS}0123456789.,?"]
    made = Tokenizer(models.Unigram(pieces, unk_id=specials.index(unknown), byte_fallback=False))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.add_special_tokens(list(specials))
    return _around(made, start, end)


def _around(pieces: Tokenizer, start: str | None, end: str) -> Tokenizer:
    marks = [mark for mark in (start, end) if mark is not None]
    pieces.post_processor = processors.TemplateProcessing(
        single=f"{start or ''} $A {end}".strip(), special_tokens=[(mark, pieces.token_to_id(mark)) for mark in marks]
    )
    return pieces


SORTS: dict[str, tuple[Tokenizer, str]] = {
    "bert": (tiny_pieces(), "[PAD]"),
    "electra": (word_pieces(), "[PAD]"),
    "distilbert": (word_pieces(), "[PAD]"),
    "mpnet": (word_pieces("<s>", "</s>"), "[PAD]"),
    "roberta": (byte_pairs(("<s>", "<pad>", "</s>", "<unk>"), "<s>", "</s>"), "<pad>"),
    "modernbert": (byte_pairs(("[PAD]", "[UNK]", "[CLS]", "[SEP]"), "[CLS]", "[SEP]"), "[PAD]"),
    "clip_text_model": (clip_pairs(), "<|endoftext|>"),
    "xlm-roberta": (unigrams(("<s>", "<pad>", "</s>", "<unk>"), "<unk>", "<s>", "</s>"), "<pad>"),
    "albert": (unigrams(("<pad>", "<unk>", "[CLS]", "[SEP]"), "<unk>", "[CLS]", "[SEP]"), "<pad>"),
    "deberta-v2": (unigrams(("[PAD]", "[CLS]", "[SEP]", "[UNK]"), "[UNK]", "[CLS]", "[SEP]"), "[PAD]"),
    "t5": (unigrams(("<pad>", "</s>", "<unk>"), "<unk>", None, "</s>"), "<pad>"),
    "siglip_text_model": (unigrams(("<unk>", "</s>"), "<unk>", None, "</s>"), "</s>"),
}
"""The tokenizer of each kind of text encoder, and its padding token."""


def write_tokenizer(folder: Path, kind: str) -> None:
    """Write a kind's tokenizer as ``save_pretrained`` does; BERT's has nothing that says which are its special tokens."""
    pieces, pad = SORTS[kind]
    pieces.save(str(folder / "tokenizer.json"))
    if kind != "bert":
        told = {"pad_token": pad if kind != "roberta" else {"content": pad}, "model_max_length": 512}
        (folder / "tokenizer_config.json").write_text(json.dumps(told))
