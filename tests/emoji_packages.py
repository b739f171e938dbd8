"""Packages of emoji as npm unpacks them, of made-up emoji: two artists, pictures of a few pixels. Not the pictures of anybody."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fedtap.data.sources.emoji import CATEGORIES

ARTISTS = ("google", "twitter")


def entry(number: int, **changes: Any) -> dict[str, Any]:
    """Return the entry of an emoji, whose category is the number's remainder."""
    return {
        "name": f"THING {number}",
        "unified": f"1F{number:03X}",
        "category": CATEGORIES[number % len(CATEGORIES)],
        "sort_order": number,
        **{f"has_img_{artist}": True for artist in ARTISTS},
    } | changes


def write_package(folder: Path, artist: str, entries: list[dict[str, Any]], *, alike: tuple[str, ...] = ()) -> Path:
    """Write an artist's package into ``node_modules`` of a folder; pictures of the codes ``alike`` are one and the same."""
    package = folder / "node_modules" / f"emoji-datasource-{artist}"
    pictures = package / "img" / artist / "64"
    pictures.mkdir(parents=True)
    (package / "emoji.json").write_text(json.dumps(entries), encoding="utf-8")
    for number, each in enumerate(entries):
        if each[f"has_img_{artist}"] is True:
            code = each["unified"]
            shade = (0, 0) if code in alike else (1 + number // 200, number % 200)
            pixels = np.zeros((4, 4, 3), np.uint8)
            pixels[0, 0] = (*shade, ARTISTS.index(artist))
            Image.fromarray(pixels).save(pictures / f"{code.lower()}.png")
    return package
