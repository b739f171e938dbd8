"""What is asked of what was seen: which column is the input, which the answer, and of what type the task is, each with the why.

Rules, and no model: names of columns first, then what they hold. Whatever could have been taken otherwise is a doubt, kept beside
the key that would have to be changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedtap.data.guess.columns import Column, ends_of, natural
from fedtap.data.guess.seen import Seen, SeenPictures, SeenTable
from fedtap.pairs import CLASSIFIES, Modality, TaskName
from fedtap.runtime.errors import UserError
from fedtap.scenario.files import OwnSplit


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TEXTS = _words(
    "text sentence note notes question review content body description prompt input comment message document article report "
    "abstract premise context query instruction"
)
UNEQUAL = 10  # times as many rows of one class as of another, from which on it is said
LABELS = _words("label labels class classes category diagnosis sentiment grade finding outcome y tag topic kind")
TARGETS = _words(
    "target targets answer answers output response completion summary caption reply translation findings impression"
)
NUMBERS = TARGETS | LABELS | _words("score rating price cost age value amount severity")
"""Names of numbers that are asked for, where they are no classes."""
MANY_LABELS = LABELS | _words("tags topics diagnoses categories genres codes symptoms keywords")
MANY_TARGETS = TARGETS | _words("references captions replies translations responses")
GROUPS = _words("patient patientid subject subjectid person participant group groupid case caseid author speaker")
IDS = _words("id index idx uuid key row rowid number no unnamed0")
PLAIN = _words("label labels class classes category y tag target targets answer answers output")
"""Names of answers that say nothing of what is asked: the file's name says more."""
_MANY_FOLDERS = 50


@dataclass(frozen=True, slots=True)
class GuessedTask:
    """What a table or a folder of pictures is taken for.

    ``about`` is what a name for the task is made of; ``reasons`` say why it is what it is, ``doubts``, by the key of the task
    that would have to be changed, what it may be instead. ``rows`` is how many examples there are, ``words`` how many words nine
    of ten texts and answers have at the most.
    """

    type: TaskName
    modality: Modality
    source: str
    path: Path
    about: str
    rows: int
    classes: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[OwnSplit, Path] | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    doubts: Mapping[str, str] = field(default_factory=dict)
    words: int = 0
    answer_words: int = 0
    scale: tuple[float, float] | None = None


def guess_task(seen: Seen) -> GuessedTask:
    """Return what is asked of a table or a folder of pictures.

    Raises
    ------
    UserError
        If nothing in it could be an answer, with what its columns hold.
    """
    return _of_table(seen) if isinstance(seen, SeenTable) else _of_pictures(seen)


def _of_pictures(seen: SeenPictures) -> GuessedTask:
    names = tuple(seen.folders)
    number = sum(seen.folders.values()) + seen.beside
    doubts: dict[str, str] = {}
    splits = () if seen.parts is None else (f"one folder for each of {', '.join(sorted(seen.parts))}",)
    if len(names) < 2:
        doubts["type"] = "pictures alone; to classify them, put those of each class into a folder of its own"
        return GuessedTask(
            type="reconstruction",
            modality="image",
            source="folder",
            path=seen.path,
            about="redraw",
            rows=number,
            parts=seen.parts,
            reasons=(f"{number} pictures in no folders of classes: to be drawn again", *splits),
            doubts=doubts,
        )
    if len(names) > _MANY_FOLDERS or (
        all(re.search(r"\d", name) for name in names) and max(seen.folders.values()) < 10
    ):
        doubts["classes"] = (
            f"the {len(names)} sub-folders may be patients or dates, and not classes; then put folders of classes above them, "
            "and say group: 1"
        )
    if seen.beside:
        doubts["classes"] = f"{seen.beside} pictures lie beside the sub-folders and are not taken; move them into one"
    return GuessedTask(
        type="classification",
        modality="image",
        source="folder",
        path=seen.path,
        about=seen.path.name,
        rows=number,
        classes=names,
        parts=seen.parts,
        reasons=(f"{len(names)} sub-folders with pictures: a class each", *splits),
        doubts=doubts,
    )


def _plain(name: str) -> str:
    """Return a column's name as the lists of known ones have it.

    >>> _plain("Patient ID")
    'patientid'
    """
    return re.sub(r"[\W_]+", "", name.casefold())


def _of_table(seen: SeenTable) -> GuessedTask:
    reasons, doubts = [*seen.reasons], dict(seen.doubts)
    columns: dict[str, str] = {}
    keys = dict(seen.keys)
    left = [column for column in seen.columns if column.filled and column.name]

    def take(field: str, column: Column) -> None:
        left.remove(column)
        if column.name != field:
            columns[field] = column.name

    split = _first(left, lambda column: column.is_split)
    if split is not None and seen.parts is None:
        take("split", split)
        reasons.append(f"'{split.name}' says which split a row is in")
    group = _first(left, lambda column: _plain(column.name) in GROUPS and column.repeats)
    if group is not None:
        left.remove(group)
        if group.name != "group":
            keys["group"] = group.name
        doubts["group"] = f"rows of one '{group.name}' stay in one split; leave the line out if they need not"
    image = _first(left, lambda column: column.is_picture)
    if image is not None:
        take("image", image)
        reasons.append(f"'{image.name}' names pictures")
        if image.found < image.pictures:
            doubts["path"] = (
                f"{image.pictures - image.found} of {image.pictures} pictures are not where '{image.name}' says, from the "
                "table's folder on; put them there"
            )
    left = [column for column in left if not _is_id(column, seen.rows)]
    answer, type = _answer(left, image, seen)
    if answer is not None:
        left.remove(answer)
    texts = sorted(
        (column for column in left if column.is_text and (not column.is_few or _plain(column.name) in TEXTS)),
        key=lambda column: (_plain(column.name) not in TEXTS, -column.words),
    )
    text = texts[0] if texts and type != "reconstruction" else None
    if text is None and image is None:
        raise _no_guess(seen, "no column holds texts, or names pictures")
    modality: Modality = "image" if text is None else "text" if image is None else "image+text"
    if text is not None:
        take("text", text)
        reasons.append(f"'{text.name}' holds texts")
        if texts[1:]:
            doubts["text"] = f"{_quoted(texts[1:])} holds texts too; name it here if it is what the model is to read"
        elif modality == "image+text" and type in CLASSIFIES:
            doubts["modality"] = f"write image, or text, if the other of the two says nothing of '{_name(answer)}'"
    classes: tuple[str, ...] = ()
    scale: tuple[float, float] | None = None
    if answer is not None and type == "classification":
        classes = answer.classes()
        if answer.name != "label":
            columns["label"] = answer.name
        reasons.append(f"'{answer.name}' has {len(classes)} different values: classes")
        if _plain(answer.name) in TARGETS:
            doubts["type"] = (
                f"'{answer.name}' has few different values, so it is taken for classes; to have it written, say text_generation, "
                f"leave out classes, and map target instead of label"
            )
        if answer.filled > len(classes) and min(answer.values.values()) == 1:
            rare = [name for name in classes if answer.values[name] == 1]
            doubts["classes"] = f"{len(rare)} of them are in one row only ({', '.join(rare[:3])}); slips of the pen?"
        counts = answer.values
        most, least = max(classes, key=counts.__getitem__), min(classes, key=counts.__getitem__)
        if 1 < counts[least] <= counts[most] / UNEQUAL:
            reasons.append(
                f"'{most}' in {counts[most]} rows and '{least}' in {counts[least]}: with class_weights: balanced both have the "
                "same say"
            )
    elif answer is not None and type == "regression":
        if answer.name != "target":
            columns["target"] = answer.name
        scale = ends_of(answer.low, answer.high)
        reasons.append(
            f"'{answer.name}' has a number in each row, from {answer.low:g} to {answer.high:g}: to be predicted"
        )
    elif answer is not None and type == "multilabel_classification":
        classes = tuple(sorted(answer.items, key=natural))
        if answer.name != "label":
            columns["label"] = answer.name
        if answer.separator is not None:
            keys["separator"] = answer.separator
        reasons.append(f"'{answer.name}' names several of {len(classes)} labels in a row")
        if _plain(answer.name) in TARGETS:
            doubts["type"] = (
                f"'{answer.name}' has few different texts, so they are taken for labels; if each of a row's is a right answer "
                "to be written, say text_generation, leave out classes, and map target instead of label"
            )
        rare = [name for name in classes if answer.items[name] == 1]
        if rare:
            doubts["classes"] = f"{len(rare)} of them are in one row only ({', '.join(rare[:3])}); slips of the pen?"
    elif answer is not None:
        if answer.name != "target":
            columns["target"] = answer.name
        if answer.is_list:
            reasons.append(f"'{answer.name}' holds lists of answers: to be written, any of them is right")
        else:
            reasons.append(f"'{answer.name}' has an answer of its own in most rows: to be written")
        if _plain(answer.name) not in MANY_TARGETS:
            doubts["type"] = f"'{answer.name}' is taken for what is to be written since no column holds a few classes"
        others = [column for column in left if column.is_few and column is not text and not column.is_labels]
        if others:
            doubts["type"] = (
                f"{_quoted(others)} has few different values and could be classes; then say classification, list them as "
                "classes, and map label instead of target"
            )
    else:
        reasons.append("no column is an answer: pictures, to be drawn again")
    unused = [column for column in left if column is not text]
    if unused:
        reasons.append(f"not used: {_quoted(unused)}")
    about = "redraw" if answer is None else answer.name
    return GuessedTask(
        type=type,
        modality=modality,
        source=seen.source,
        path=seen.path,
        about=_stem(seen) if _plain(about) in PLAIN else about,
        rows=seen.rows - seen.broken,
        classes=classes,
        columns=columns,
        parts=seen.parts,
        keys=keys,
        reasons=tuple(reasons),
        doubts=doubts,
        words=0 if text is None else text.words,
        answer_words=answer.words if answer is not None and type == "text_generation" else 0,
        scale=scale,
    )


def _answer(left: Sequence[Column], image: Column | None, seen: SeenTable) -> tuple[Column | None, TaskName]:
    """Return the column that is the answer, and of what type the task is.

    A column whose name says that it is an answer goes before one that only looks like it, a later column before an earlier one.
    """
    few = [
        column
        for column in left
        if column.is_few or (_plain(column.name) in LABELS and column.values and column.repeats)
    ]
    few = [column for column in few if _plain(column.name) not in TEXTS] or few
    written = [column for column in left if column.is_text and column not in few]
    named = [column for column in written if _plain(column.name) in TARGETS]
    others = [column for column in written if column not in named]
    readable = image is not None or len(written) > 1
    labels = [column for column in few if _plain(column.name) in LABELS and not column.is_labels]
    several = [column for column in left if (column.is_list or column.is_labels) and _plain(column.name) not in TEXTS]
    called = [column for column in several if _plain(column.name) in MANY_LABELS | MANY_TARGETS]
    numbers = [column for column in left if column.is_number and column not in few and _plain(column.name) in NUMBERS]
    if numbers and not called and not labels and not (named and readable):
        return numbers[-1], "regression"
    if called or (several and not labels):
        answer = (called or several)[-1]
        return answer, "multilabel_classification" if answer.is_labels else "text_generation"
    for found in (labels, [column for column in few if _plain(column.name) in TARGETS]):
        if found and not (named and readable):
            return found[-1], "classification"
    if named and (image is not None or others):
        return named[-1], "text_generation"
    if few:
        return few[-1], "classification"
    if image is not None:
        return (written[-1], "text_generation") if written else (None, "reconstruction")
    if len(written) > 1:
        return max(
            written, key=lambda column: (_plain(column.name) not in TEXTS, left.index(column))
        ), "text_generation"
    raise _no_guess(seen, "no column holds a few values that repeat, as classes do, or a second text, as answers are")


def _is_id(column: Column, rows: int) -> bool:
    """Tell whether a column only numbers or names rows."""
    different = column.different == column.filled
    return different and (
        _plain(column.name) in IDS
        or _plain(column.name) == ""
        or (column.is_number and rows > 2 and _plain(column.name) not in NUMBERS)
    )


def _first(columns: Sequence[Column], fits: object) -> Column | None:
    assert callable(fits)
    return next((column for column in columns if fits(column)), None)


def _stem(seen: SeenTable) -> str:
    return seen.path.stem if seen.parts is None else seen.path.name


def _name(column: Column | None) -> str:
    return "" if column is None else column.name


def _quoted(columns: Sequence[Column]) -> str:
    return ", ".join(f"'{column.name}'" for column in columns)


def _no_guess(seen: SeenTable, why: str) -> UserError:
    held = ", ".join(f"'{column.name}' ({_in_words(column)})" for column in seen.columns[:12])
    return UserError(
        f"{seen.path}: what is asked of it cannot be guessed: {why}; it has {held}. Call the input text or image and the answer "
        "label or target, or write the scenario by hand (docs/own-data.md)"
    )


def _in_words(column: Column) -> str:
    if not column.filled:
        return "empty"
    kind = "pictures" if column.is_picture else "numbers" if column.is_number else "texts" if column.texts else "values"
    return f"{column.different} different {kind}"
