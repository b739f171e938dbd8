"""Writes each hospital's data as it might lie there: folders of pictures, CSV tables, JSON lines. No two hold the same example.

The pictures are scikit-learn's handwritten digits, the texts sentences of film reviews that come as a package.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

from fedtap.data.sources.reviews import ROTTEN_TOMATOES, reviews

EACH = 250
MOODS = ("negative", "positive")


def main(folder: Path) -> None:
    """Write the data of all three hospitals into sub-folders of ``folder``."""
    digits = load_digits()
    pictures = [
        (Image.fromarray((picture * 255 / 16).astype("uint8")).resize((64, 64), Image.Resampling.NEAREST), int(label))
        for picture, label in zip(digits.images, digits.target, strict=True)
    ]
    texts = list(reviews(ROTTEN_TOMATOES))
    texts = texts[: 2 * EACH] + texts[-2 * EACH :]  # negative ones come first
    for number, hospital in enumerate(("north", "south")):
        for index in range(number * EACH, (number + 1) * EACH):
            picture, label = pictures[index]
            path = folder / hospital / "scans" / str(label) / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.convert("RGB").save(path)
    write_table(folder / "north" / "letters.csv", ("text", "label"), texts[0::2])
    write_table(folder / "west" / "notes.csv", ("note", "tone"), texts[1::2])
    lines = []
    for index in range(2 * EACH, 3 * EACH):
        picture, label = pictures[index]
        path = folder / "west" / "pictures" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.convert("RGB").save(path)
        answer = "no" if label % 2 else "yes"
        lines.append(json.dumps({"image": f"pictures/{index}.png", "text": "is the number even", "target": answer}))
    (folder / "west" / "questions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_table(path: Path, header: tuple[str, str], rows: list[tuple[str, int]]) -> None:
    """Write texts with their moods as a CSV table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(header)
        table.writerows([text, MOODS[label]] for text, label in rows)
