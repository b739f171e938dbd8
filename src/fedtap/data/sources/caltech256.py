"""Caltech-256: photographs of objects in 256 categories and one of clutter, numbered 1 to 257.

The data set has no splits of its own; those of the hub are a random 81 : 9 : 10. Its validation rows are left out, as in the
paper: validation examples are taken from the training rows, as from every source. Classes are called by their numbers; their
names are the hub's column ``text``.
"""

from __future__ import annotations

from fedtap.data.sources.hub.pictures import HubPictures

CALTECH256 = HubPictures(
    "caltech256",
    title="Caltech-256 object categories (Griffin, Holub and Perona, 2007)",
    licence="CC BY 4.0 as a collection; the photographs are from the web, their licences unstated",
    hub="ilee0022/Caltech-256",
    splits={"train": "train", "test": "test"},
    classes=tuple(str(number) for number in range(1, 258)),
    first=1,
)
