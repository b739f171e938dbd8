"""Words to token ids and back, with the frozen embeddings that text generation reads and writes with. Not a text encoder."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer, models
from torch import Tensor

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"

# Word pieces are split at every punctuation mark; these undo it as English is usually written.
_TIDY = (
    (re.compile(r" ([.,!?;:%)\]}…])"), r"\1"),
    (re.compile(r"([(\[{$#]) "), r"\1"),
    (re.compile(r"(?<=\w) (['’\-/]) (?=\w)"), r"\1"),
    (re.compile(r"(?<=\d)([.,:]) (?=\d)"), r"\1"),
    (re.compile(r'" ([^"]*?) ?"'), r'"\1"'),
)


@dataclass(frozen=True, slots=True)
class Marks:
    """The ids of a vocabulary's special tokens; ``start`` and ``unknown`` are None where there is no such token."""

    start: int | None
    end: int
    pad: int
    unknown: int | None


def marks_of(pieces: Tokenizer, pad: str | int | None = None) -> Marks:
    """Return the special tokens of a tokenizer: what its post-processor puts around a text, or those that BERT's are called.

    Parameters
    ----------
    pieces
        The tokenizer.
    pad
        Its padding token, or the id of that, where something says so; else the token has one of the usual names.

    Raises
    ------
    ValueError
        If it puts more or less around a text than a start token, if any, and an end token; or has no padding token.
    """
    marked, plain = (list(pieces.encode("a", add_special_tokens=on).ids) for on in (True, False))
    if marked == plain:
        start, end = pieces.token_to_id(START), pieces.token_to_id(END)
        if start is None or end is None:
            raise ValueError(f"it puts no end token after a text, and the vocabulary lacks {START if end else END}")
    else:
        lead = next((n for n in range(len(marked)) if marked[n : n + len(plain)] == plain), len(marked))
        tail = marked[lead + len(plain) :]
        if lead > 1 or len(tail) != 1:
            raise ValueError(
                f"it puts {lead} special tokens before a text and {len(tail)} after it; one may lead, one must end"
            )
        start, end = (marked[0] if lead else None), tail[0]
    names = (pad,) if isinstance(pad, str) else (PAD, "<pad>")
    found = pad if isinstance(pad, int) else next((n for n in map(pieces.token_to_id, names) if n is not None), None)
    if found is None or not 0 <= found < pieces.get_vocab_size():
        raise ValueError(
            f"the vocabulary lacks a padding token ({pad if pad is not None else ' or '.join(map(str, names))})"
        )
    unknown = getattr(pieces.model, "unk_token", None)
    asked = (unknown,) if unknown is not None else (UNKNOWN, "<unk>")
    return Marks(start, end, found, next((n for n in map(pieces.token_to_id, asked) if n is not None), None))


class Vocabulary:
    """A vocabulary: word pieces, bytes, or what else the tokenizer's file says.

    Parameters
    ----------
    pieces
        The tokenizer; its own truncation, padding and special-token handling are switched off.
    embedding
        Gives the frozen word embeddings ``(vocabulary, embedding dim)``; called when they are first asked for.
    pad
        As for :func:`marks_of`.

    Raises
    ------
    ValueError
        As :func:`marks_of`.

    Examples
    --------
    >>> from fedtap.backbones.untrained import tiny_vocabulary
    >>> words = tiny_vocabulary()
    >>> ids = words.encode("What color is it?", limit=16)
    >>> ids[-1] == words.end_id, words.decode(ids)
    (True, 'what color is it?')
    """

    def __init__(self, pieces: Tokenizer, embedding: Callable[[], Tensor], *, pad: str | int | None = None) -> None:
        pieces.no_truncation()
        pieces.no_padding()
        # A "[SEP]" in somebody's data is text and must not end the sequence.
        pieces.encode_special_tokens = True
        self._pieces = pieces
        self._embedding = embedding
        self._marks = marks = marks_of(pieces, pad)
        self.pad_id, self.end_id = marks.pad, marks.end
        self.start_id = marks.pad if marks.start is None else marks.start
        """What a text that is being written starts from; T5 starts from its padding token."""

    @property
    def opening(self) -> list[int]:
        """What stands before the tokens of a text that is read: the start token, if there is one."""
        return [] if self._marks.start is None else [self._marks.start]

    @property
    def never_written(self) -> int | None:
        """The padding token, unless it is the end token too."""
        return None if self.pad_id == self.end_id else self.pad_id

    def tokenizer(self) -> str:
        """Return the tokenizer as the content of a ``tokenizer.json``."""
        return str(self._pieces.to_str())

    def __len__(self) -> int:
        return int(self._pieces.get_vocab_size())

    @functools.cached_property
    def embedding(self) -> Tensor:
        """The frozen word embeddings ``(vocabulary, embedding dim)``, float32."""
        return self._embedding().requires_grad_(False)

    def encode(self, text: str, limit: int) -> list[int]:
        """Return at most ``limit`` token ids: the text's, cut where too long, and then always the end token."""
        if limit < 1:
            raise ValueError(f"limit={limit}: there must be room for the end token")
        return [*self._ids(text)[: limit - 1], self.end_id]

    def lost(self, text: str, limit: int) -> tuple[bool, bool]:
        """Tell what of a text its ``limit`` token ids cannot say: whether they cut it short, and whether words are unknown."""
        ids = self._ids(text)
        return len(ids) > limit - 1, self._marks.unknown in ids

    def _ids(self, text: str) -> list[int]:
        """Return a text's own tokens.

        Of SentencePiece's pieces some are special tokens, and a "</s>" in somebody's data would be cut as one: it is unknown.
        """
        ids: list[int] = self._pieces.encode(text, add_special_tokens=False).ids
        special = {self.start_id, self.end_id, self.pad_id}
        if special.isdisjoint(ids):
            return ids
        unknown = self._marks.unknown
        told = [] if unknown is None or unknown in special else [unknown]
        return [token for each in ids for token in (told if each in special else [each])]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids up to the end token; start and padding tokens are left out."""
        real: list[int] = []
        for token in ids:
            if token == self.end_id:
                break
            if token not in (self.pad_id, self.start_id):
                real.append(int(token))
        if isinstance(self._pieces.model, models.WordPiece):
            return self._joined(real)
        text: str = self._pieces.decode(real, skip_special_tokens=False)
        model: Any = self._pieces.model
        if suffix := getattr(model, "end_of_word_suffix", None):  # CLIP's, which its decoder leaves in
            text = text.replace(suffix, " ")
        return text.strip()

    def _joined(self, ids: Sequence[int]) -> str:
        """Return word pieces as words, and these as English is written."""
        words: list[str] = []
        for token in ids:
            piece = self._pieces.id_to_token(token) or UNKNOWN
            if piece.startswith("##") and words:
                words[-1] += piece[2:]
            else:
                words.append(piece)
        text = " ".join(words)
        for pattern, replacement in _TIDY:
            text = pattern.sub(replacement, text)
        return text
