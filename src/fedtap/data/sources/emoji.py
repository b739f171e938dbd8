"""Emoji: 64 x 64 pictures of one artist, with a name and one of nine categories each. From a package of npm's registry.

``npm install emoji-datasource-google emoji-datasource-twitter`` puts them into ``node_modules``, where they are found from the
current folder upwards, as npm itself does; ``path`` names the folder of an unpacked package instead. Pictures of the two artists
are of the same emoji. An example is known by its emoji, whoever drew it and whatever is asked of it: no emoji is in two splits of
any artist, nor is its name. Of emoji that an artist has drawn alike to the last bit (flags of one country's territories,
Twitter's families) the first is taken; the five swatches of skin tones are left out. Not here: artists whose pictures are not
free.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from fedtap.data.example import Example, ImageRef
from fedtap.data.sources.base import Source, Supports
from fedtap.runtime.errors import UserError
from fedtap.runtime.plain_json import NotPlainError, parse, read_bounded
from fedtap.runtime.storage import digest
from fedtap.scenario.scenario import TaskSettings

CATEGORIES = (
    "Smileys & Emotion",
    "People & Body",
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
    "Activities",
    "Objects",
    "Symbols",
    "Flags",
)
_LEFT_OUT = "Component"  # five swatches of skin tones, which are no pictures of anything
_MOST = 50_000_000
_CODE = re.compile(r"[0-9A-F]{4,6}(-[0-9A-F]{4,6}){0,15}")
_NAME_LENGTH = 200


class Emoji(Source):
    """The emoji of one artist: classify the picture or the name, name the picture, draw it again."""

    supports: Supports = frozenset(
        {
            ("classification", "image"),
            ("classification", "text"),
            ("text_generation", "image"),
            ("reconstruction", "image"),
        }
    )
    takes: ClassVar[frozenset[str]] = frozenset({"path"})

    def __init__(self, artist: str, *, title: str, licence: str) -> None:
        self.name = f"emoji_{artist}"
        self.title = title
        self.licence = licence
        self._artist = artist
        self._package = f"emoji-datasource-{artist}"

    def classes(self, task: TaskSettings) -> tuple[str, ...]:
        """Return the nine categories, in Unicode's order."""
        return CATEGORIES if task.type == "classification" else ()

    def examples(self, task: TaskSettings, folder: Path) -> tuple[Example, ...]:
        """Return one example an emoji, in Unicode's order. Its stratum is its category, whatever is asked."""
        found: list[Example] = []
        for key, name, category, image in _read(self._folder(task, folder), self._artist):
            match task.type, task.modality:
                case "classification", "text":
                    found.append(Example(key, None, name, category, category))
                case "classification", _:
                    found.append(Example(key, image, None, category, category))
                case "text_generation", _:
                    found.append(Example(key, image, None, name, category))
                case _:
                    found.append(Example(key, image, None, None, category))
        return tuple(found)

    def _folder(self, task: TaskSettings, folder: Path) -> Path:
        """Return the package's folder: the task's own, or the nearest that npm has installed, from the current folder upwards."""
        if task.path is not None:
            return folder / task.path
        here = Path.cwd()
        for above in (here, *here.parents):
            if (found := above / "node_modules" / self._package).is_dir():
                return found
        raise UserError(
            f"source '{self.name}': package {self._package} is not in this folder or above; run: npm install {self._package}, or "
            "unpack it and give its folder as the task's 'path'"
        )


@cache
def _read(folder: Path, artist: str) -> tuple[tuple[str, str, int, ImageRef], ...]:
    """Return key, name, category and picture of each emoji, of equal pictures the first alone."""
    pictures = folder / "img" / artist / "64"
    found: dict[str, tuple[str, str, int, ImageRef]] = {}
    for _, code, name, category in sorted(_listed(folder / "emoji.json", artist)):
        image = ImageRef.of_file(pictures / f"{code.lower()}.png")
        found.setdefault(image.digest, (digest("emoji", code), name, category, image))
    return tuple(found.values())


def _listed(file: Path, artist: str) -> Iterator[tuple[int, str, str, int]]:
    """Iterate over place in Unicode's order, code, name and category of what the artist has drawn."""
    mend = f"restore it from package emoji-datasource-{artist}"
    try:
        rows = parse(read_bounded(file, _MOST))
    except FileNotFoundError as error:
        raise UserError(
            f"{file}: no such file; 'path' must be the folder of an unpacked emoji-datasource-{artist}"
        ) from error
    except (OSError, NotPlainError) as error:
        raise UserError(f"{file}: cannot be read ({error}); {mend}") from error
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{file}: is no list of emoji; {mend}")
    index = {category: number for number, category in enumerate(CATEGORIES)}
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or not _is_plain(row):
            raise UserError(f"{file}: entry {number} has no plain name, category, code and place; {mend}")
        if row.get(f"has_img_{artist}") is True and row["category"] != _LEFT_OUT:
            if row["category"] not in index:
                raise UserError(
                    f"{file}: entry {number} is of category '{row['category']}', which Unicode does not have; {mend}"
                )
            yield row["sort_order"], row["unified"], row["name"].lower(), index[row["category"]]


def _is_plain(row: dict[str, Any]) -> bool:
    name, category, code = (row.get(key) for key in ("name", "category", "unified"))
    texts = all(
        isinstance(text, str) and 0 < len(text) <= _NAME_LENGTH and text.isprintable() for text in (name, category)
    )
    return texts and isinstance(code, str) and bool(_CODE.fullmatch(code)) and type(row.get("sort_order")) is int


EMOJI_GOOGLE = Emoji(
    "google",
    title="Noto emoji of Google, in emoji-datasource-google (Cal Henderson), with Unicode's names",
    licence="Apache-2.0 (pictures), MIT (package)",
)
EMOJI_TWITTER = Emoji(
    "twitter",
    title="Twemoji of Twitter, in emoji-datasource-twitter (Cal Henderson), with Unicode's names",
    licence="CC BY 4.0 (pictures: Twitter, Inc. and other contributors), MIT (package)",
)
