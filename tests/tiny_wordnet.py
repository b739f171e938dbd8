"""A WordNet of a few nouns, in the file format of version 3.0 that nltk reads."""

from collections.abc import Sequence
from pathlib import Path

KINDS = ("noun", "verb", "adj", "adv")


def write_wordnet(folder: Path, meanings: Sequence[Sequence[str]]) -> None:
    """Write a folder whose nouns have these meanings, each a list of the words that can have it."""
    folder.mkdir(parents=True)
    for name in ("cntlist.rev", "index.sense", *(f"{part}.{kind}" for kind in KINDS for part in ("data", "index"))):
        (folder / name).write_text("")
    for kind in KINDS:
        (folder / f"{kind}.exc").write_text("")
    (folder / "lexnames").write_text("00 noun.Tops 1\n")
    lines = "  1 A few nouns for a test\n"
    places: dict[str, list[int]] = {}
    for words in meanings:
        place = len(lines)  # a meaning is known by the byte at which it starts
        forms = " ".join(f"{word} 0" for word in words)
        lines += f"{place:08d} 00 n {len(words):02x} {forms} 000 | a meaning\n"
        for word in words:
            places.setdefault(word, []).append(place)
    (folder / "data.noun").write_text(lines)
    (folder / "index.noun").write_text(
        "".join(
            f"{word} n {len(at)} 0 {len(at)} 0 {' '.join(f'{place:08d}' for place in at)}\n"
            for word, at in sorted(places.items())
        )
    )
