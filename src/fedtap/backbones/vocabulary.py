"""Words to token ids and back, with the frozen embeddings that text generation reads and writes with. Not a text encoder."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

from tokenizers import Tokenizer
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


class Vocabulary:
    """A WordPiece vocabulary over lower-case text.

    Parameters
    ----------
    pieces
        The tokenizer; its own truncation, padding and special-token handling are switched off.
    embedding
        Gives the frozen word embeddings ``(vocabulary, embedding dim)``; called when they are first asked for.

    Examples
    --------
    >>> from fedtap.backbones.untrained import tiny_vocabulary
    >>> words = tiny_vocabulary()
    >>> ids = words.encode("What color is it?", limit=16)
    >>> ids[-1] == words.end_id, words.decode(ids)
    (True, 'what color is it?')
    """

    def __init__(self, pieces: Tokenizer, embedding: Callable[[], Tensor]) -> None:
        pieces.no_truncation()
        pieces.no_padding()
        # A "[SEP]" in somebody's data is text and must not end the sequence.
        pieces.encode_special_tokens = True
        self._pieces = pieces
        self._embedding = embedding
        self.pad_id = self._id(PAD)
        self.start_id = self._id(START)
        self.end_id = self._id(END)
        self._unknown_id = self._id(UNKNOWN)
        if self.pad_id != 0:
            raise ValueError(f"the padding token has id {self.pad_id}; targets are padded with 0")

    def _id(self, token: str) -> int:
        found = self._pieces.token_to_id(token)
        if found is None:
            raise ValueError(f"the vocabulary lacks {token}")
        return int(found)

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
        ids: list[int] = self._pieces.encode(text, add_special_tokens=False).ids
        return [*ids[: limit - 1], self.end_id]

    def lost(self, text: str, limit: int) -> tuple[bool, bool]:
        """Tell what of a text its ``limit`` token ids cannot say: whether they cut it short, and whether words are unknown."""
        ids: list[int] = self._pieces.encode(text, add_special_tokens=False).ids
        return len(ids) > limit - 1, self._unknown_id in ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids up to the end token; start and padding tokens are left out."""
        words: list[str] = []
        for token in ids:
            if token == self.end_id:
                break
            if token in (self.pad_id, self.start_id):
                continue
            piece = self._pieces.id_to_token(int(token)) or UNKNOWN
            if piece.startswith("##") and words:
                words[-1] += piece[2:]
            else:
                words.append(piece)
        text = " ".join(words)
        for pattern, replacement in _TIDY:
            text = pattern.sub(replacement, text)
        return text
