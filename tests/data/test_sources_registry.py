import re
from typing import Any

import pytest

from fedtap.data.sources import SOURCES, source
from fedtap.data.sources.packages import package_file
from fedtap.pairs import CLASSIFIES
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import TaskSettings

BUILT_IN = [name for name, known in SOURCES.items() if not known.takes]


def task(**more: Any) -> TaskSettings:
    known = {"name": "t", "type": "classification", "modality": "text", "domain": "d", "source": "csv"}
    return TaskSettings.model_validate(known | more)


def test_every_source_says_what_it_is() -> None:
    for name, known in SOURCES.items():
        assert name == known.name
        assert known.title
        assert known.licence
        assert known.supports


def test_an_unknown_source_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match="source 'sentimant': there is none; did you mean 'sentiment'"):
        source("sentimant")


@pytest.mark.parametrize("name", BUILT_IN)
def test_classes_need_no_data_and_only_classification_has_them(name: str) -> None:
    for kind, modality in SOURCES[name].supports:
        classes = SOURCES[name].classes(task(source=name, type=kind, modality=modality))
        assert (len(classes) >= 2) == (kind == "classification")


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            {"source": "digits"},
            "no classification on text here; it serves: classification on image, reconstruction on image",
        ),
        ({"source": "sentiment", "path": "x"}, "'path' means nothing to this source; remove it"),
        ({"source": "sentiment", "classes": 2}, "'classes' means nothing to this source; remove it"),
        ({"source": "sentiment", "columns": {"text": "x"}}, "'columns' means nothing to this source; remove it"),
        ({"source": "csv", "classes": 2}, "'path' is missing; add it"),
        ({"source": "jsonl", "path": "x"}, "'classes' is missing; add a list of names, or a number n"),
        (
            {"source": "csv", "path": "x", "classes": ["sick", "well"], "class_weights": {"sik": 2.0}},
            "class_weights: no class 'sik'; did you mean 'sick'?",
        ),
        ({"source": "csv", "path": "x", "classes": ["a"]}, "'classes' must be at least two, not 1"),
        ({"source": "csv", "path": "x", "classes": ["a", "b", "a"]}, "class 'a' is listed twice"),
        (
            {"source": "csv", "path": "x", "classes": 2, "columns": {"lable": "y"}},
            "unknown key 'lable' in 'columns'; did you mean",
        ),
        (
            {"source": "csv", "path": "x", "classes": 2, "type": "text_generation"},
            "'classes' is for classification, not for text_generation; remove it",
        ),
        ({"source": "folder", "path": "x", "classes": 2}, "no classification on text here"),
        (
            {"source": "folder", "path": "x", "modality": "image", "classes": 2, "columns": {"image": "x"}},
            "'columns' means nothing to this source",
        ),
    ],
)
def test_what_a_source_cannot_serve_is_refused_in_one_line(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"task 't', source '{given['source']}': {fault}")) as error:
        source(given["source"]).check(task(**given))
    assert "\n" not in str(error.value)


def test_what_a_source_can_serve_passes() -> None:
    for name, known in SOURCES.items():
        for kind, modality in known.supports:
            more: dict[str, Any] = {"path": "x"} if "path" in known.takes else {}
            if "classes" in known.takes and kind in CLASSIFIES:
                more["classes"] = 3
            if kind == "regression":
                more["scale"] = [0, 1]
            known.check(task(source=name, type=kind, modality=modality, **more))


def test_a_number_of_classes_stands_for_as_many_names() -> None:
    assert source("csv").classes(task(path="x", classes=3)) == ("0", "1", "2")


def test_a_package_that_is_not_installed_is_named_with_the_mend() -> None:
    with pytest.raises(UserError, match=r"package no-such-data is not installed; run: .*pip install .*\[quickstart\]"):
        package_file("no_such_data", "x.csv")


def test_a_damaged_package_is_named_with_the_mend() -> None:
    with pytest.raises(
        UserError, match=r"nothing\.csv: the installed package lacks it; uninstall [\w-]+, then run: .*pip install"
    ):
        package_file("fedtap", "nothing.csv")
