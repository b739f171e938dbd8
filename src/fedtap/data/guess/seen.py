"""What lies at a place that a user names as data: tables, and folders of pictures. Not here: what it is taken for (roles)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedtap.data.guess.columns import EMBEDDED, Column, look_at_columns, natural
from fedtap.data.sources.base import composed
from fedtap.data.sources.folder import SUFFIXES, is_hidden
from fedtap.data.sources.hub.load import from_folder
from fedtap.data.sources.spreadsheet import Spreadsheet, sheet_names
from fedtap.data.sources.tables import CSV, DELIMITERS, JSONLines, Table, csv_encoding
from fedtap.runtime.errors import UserError
from fedtap.scenario.files import OwnSplit, split_word
from fedtap.scenario.scenario import TaskSettings

TABLES: Mapping[str, type[Table]] = {
    ".csv": CSV,
    ".tsv": CSV,
    ".jsonl": JSONLines,
    ".ndjson": JSONLines,
    ".xlsx": Spreadsheet,
}
"""The sources that read tables, by what a file's name ends in."""
DATASET_FILES = ("dataset_dict.json", "dataset_info.json", "state.json")
"""What lies in a folder that the library ``datasets`` has written."""
_GUESSED_ENCODING = "cp1252"


@dataclass(frozen=True, slots=True)
class SeenTable:
    """A table: its columns, and what its source has to be told to read it. ``parts`` are the files of its splits."""

    path: Path
    source: str
    columns: Sequence[Column]
    rows: int
    broken: int = 0
    keys: Mapping[str, str] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    doubts: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[OwnSplit, Path] | None = None


@dataclass(frozen=True, slots=True)
class SeenPictures:
    """A folder of pictures: the sub-folders with some, by name, and how many lie beside these."""

    path: Path
    folders: Mapping[str, int]
    beside: int
    parts: Mapping[OwnSplit, Path] | None = None


Seen = SeenTable | SeenPictures


def look(place: Path) -> tuple[Seen, ...]:
    """Return what lies at a place: one thing, or the tables and folders of pictures of a site's folder.

    Raises
    ------
    UserError
        If there is nothing, or nothing that can be read.
    """
    if place.is_dir():
        return _look_into(place)
    if not place.exists():
        raise UserError(f"--from {place}: no such file or folder; mend the path")
    if place.suffix.lower() not in TABLES:
        raise UserError(
            f"--from {place}: not a kind of file that is read; give a table ({', '.join(TABLES)}) or a folder of pictures"
        )
    return (look_at_table(place),)


def look_at_table(path: Path) -> SeenTable:
    """Return a table's columns; raises :class:`UserError` if it cannot be read as a whole, or has no rows."""
    source = TABLES[path.suffix.lower()]()
    keys: dict[str, str] = {}
    reasons: list[str] = []
    doubts: dict[str, str] = {}
    try:
        path.open("rb").close()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); mend that, or leave it out of --from") from error
    if source.name == "xlsx":
        names = sheet_names(path)
        if len(names) > 1:
            keys["sheet"] = names[0]
            doubts["sheet"] = f"the first of {len(names)} sheets; the others: {', '.join(names[1:])}"
    elif source.name == "csv":
        encoding = csv_encoding(path)
        if encoding == "utf-8-sig" and not _is_in(path, "utf-8"):
            keys["encoding"] = encoding = _GUESSED_ENCODING
            doubts["encoding"] = "the file is not in UTF-8; this is most of Excel's in the West. Look at its accents"
        delimiter = _delimiter(path, encoding)
        if delimiter != ",":
            reasons.append(f"its values stand between {DELIMITERS[delimiter]}")
            keys["delimiter"] = delimiter
    columns, rows, broken = look_at_columns(source.rows(path, (), _as_task(source.name, keys)), path.parent)
    if rows == broken:
        raise UserError(f"{path}: no row in it that can be read; add some, with a header above them")
    if broken:
        reasons.append(f"{broken} of its {rows} rows cannot be read")
    return SeenTable(path, source.name, columns, rows, broken, keys, tuple(reasons), doubts)


def _look_at_dataset(place: Path) -> SeenTable:
    """Return the columns of a data set that the library ``datasets`` has written; no picture of it is decoded."""
    data = from_folder(place, place="--from")
    names = [name for name in data if len(data) == 1 or split_word(name) is not None]
    columns, rows, _ = look_at_columns(
        (row for name in names for row in enumerate(_dataset_rows(data[name]))), place, there=True
    )
    if not rows:
        raise UserError(f"--from {place}: no rows in its splits {', '.join(data)}; give one that has some")
    splits = (f"its splits {', '.join(names)} are kept",) if len(names) > 1 else ()
    return SeenTable(place, "dataset", columns, rows, reasons=splits)


def _dataset_rows(part: Any) -> Iterator[Mapping[str, Any]]:
    """Iterate over rows as a table would have them: a class by its name, and for a picture the name of a file."""
    pictures = [name for name, kind in part.features.items() if type(kind).__name__ == "Image"]
    classes = {name: kind.names for name, kind in part.features.items() if getattr(kind, "names", None)}
    for row in part.remove_columns(pictures):
        named = {name: kinds[row[name]] for name, kinds in classes.items() if row[name] is not None and row[name] >= 0}
        yield {**row, **named, **dict.fromkeys(pictures, EMBEDDED)}


def _as_task(source: str, keys: Mapping[str, str]) -> TaskSettings:
    """Return a task as the readers of tables take it."""
    told = {"name": "seen", "type": "classification", "modality": "text", "domain": "seen", "source": source}
    return TaskSettings.model_validate({**told, **keys})


def _is_in(path: Path, encoding: str) -> bool:
    try:
        with path.open(encoding=encoding) as file:
            for _ in file:
                pass
    except UnicodeError:
        return False
    return True


def _delimiter(path: Path, encoding: str) -> str:
    """Return what stands most often between the names of the header; a comma where nothing does."""
    with path.open(encoding=encoding) as file:
        header = file.readline(1_000_000)
    return max(DELIMITERS, key=lambda delimiter: (header.count(delimiter), delimiter == ","))


def _look_into(place: Path) -> tuple[Seen, ...]:
    if any((place / name).is_file() for name in DATASET_FILES):
        return (_look_at_dataset(place),)
    inside = sorted(path for path in place.iterdir() if not is_hidden(Path(path.name)))
    files = [path for path in inside if path.is_file() and path.suffix.lower() in TABLES]
    folders = [path for path in inside if path.is_dir()]
    if not files:
        found = look_at_pictures(place)
        if found is None:
            deeper = [path.name for path in folders if _tables(path)]
            more = f"; its folders have tables: name those ({', '.join(deeper[:5])})" if deeper else ""
            raise UserError(f"--from {place}: no table in it, and no picture in it or below{more or '; mend the path'}")
        return (found,)
    tables = _in_parts([look_at_table(path) for path in files])
    named = {folder for table in tables for folder in _picture_folders(table)}
    pictures = (look_at_pictures(path) for path in folders if path not in named)
    return (*tables, *(each for each in pictures if each is not None))


def _tables(folder: Path) -> bool:
    return any(path.suffix.lower() in TABLES and path.is_file() for path in folder.iterdir())


def _picture_folders(table: SeenTable) -> set[Path]:
    """Return the folders beside a table in which the pictures lie that it names."""
    names = (name for column in table.columns if column.is_picture for name in column.values)
    parts = (Path(name).parts for name in names)
    found = {table.path.parent / each[0] for each in parts if len(each) > 1}
    many = any(column.is_picture and not column.values for column in table.columns)  # too many to be kept
    return {path for path in table.path.parent.iterdir() if path.is_dir()} if many else found


def _in_parts(tables: Sequence[SeenTable]) -> list[SeenTable]:
    """Return tables, those that are called train, validation and test as one."""
    named: dict[tuple[str, str], dict[OwnSplit, SeenTable]] = {}
    for table in tables:
        split = split_word(table.path.stem)
        if split is not None:
            named.setdefault((table.source, repr([column.name for column in table.columns])), {})[split] = table
    whole: list[SeenTable] = []
    taken: list[SeenTable] = []
    for parts in named.values():
        if {"train", "test"} <= parts.keys():
            first = parts["train"]
            taken += parts.values()
            whole.append(
                SeenTable(
                    path=first.path.parent,
                    source=first.source,
                    columns=[_joined(group) for group in zip(*(part.columns for part in parts.values()), strict=True)],
                    rows=sum(part.rows for part in parts.values()),
                    broken=sum(part.broken for part in parts.values()),
                    keys=first.keys,
                    reasons=(*first.reasons, f"one file for each of {', '.join(sorted(parts))}"),
                    doubts=first.doubts,
                    parts={split: part.path for split, part in parts.items()},
                )
            )
    return [*whole, *(table for table in tables if table not in taken)]


def _joined(columns: Sequence[Column]) -> Column:
    """Return what several files have in one column."""
    values: Counter[str] = Counter()
    for column in columns:
        values.update(column.values)
    known = all(column.values for column in columns)
    items: Counter[str] = Counter()
    for column in columns:
        items.update(column.items)
    sums = {
        name: sum(getattr(column, name) for column in columns)
        for name in ("filled", "numbers", "pictures", "found", "splits", "lists")
    }
    return Column(
        name=columns[0].name,
        different=len(values) if known else max(column.different for column in columns),
        values=values if known else Counter(),
        texts=all(column.texts for column in columns),
        words=max(column.words for column in columns),
        separator=columns[0].separator,
        low=min(column.low for column in columns),
        high=max(column.high for column in columns),
        items=items if all(column.items for column in columns) else Counter(),
        **sums,
    )


def look_at_pictures(place: Path) -> SeenPictures | None:
    """Return what pictures lie in a folder and below, or None if there are none; files are not opened."""
    folders = {
        composed(path.name): sum(1 for _ in _pictures(path))
        for path in sorted(place.iterdir(), key=lambda path: natural(path.name))
        if path.is_dir() and not is_hidden(Path(path.name))
    }
    folders = {name: number for name, number in folders.items() if number}
    beside = sum(1 for path in place.iterdir() if _is_picture(path, place))
    splits = {split: name for name in folders if (split := split_word(name)) is not None}
    if {"train", "test"} <= splits.keys() and len(splits) == len(folders) and not beside:
        parts = {split: place / name for split, name in splits.items()}
        below = [look_at_pictures(path) for path in parts.values()]
        counts: Counter[str] = Counter()
        for each in below:
            counts.update(each.folders if each is not None else {})
        return SeenPictures(place, dict(counts), sum(each.beside for each in below if each is not None), parts)
    return SeenPictures(place, folders, beside) if folders or beside else None


def _pictures(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if _is_picture(path, root))


def _is_picture(path: Path, root: Path) -> bool:
    inner: Any = path.relative_to(root)
    return path.suffix.lower() in SUFFIXES and not is_hidden(inner) and path.is_file()
