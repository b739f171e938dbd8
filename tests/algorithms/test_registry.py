"""Methods by name, and what is said when a name or a value is wrong."""

import re

import pytest

from fedtap.algorithms.registry import algorithms, make
from fedtap.algorithms.tap import Tap
from fedtap.runtime.errors import UserError


def test_every_method_says_what_it_is() -> None:
    assert set(algorithms()) >= {"local", "probe", "fedavg", "fedavg_ft", "tap"}
    for name, method in algorithms().items():
        assert method.name == name
        assert method.summary
        assert method.source
        assert method.architecture in (None, "experts", "probe")
        assert (method.__module__.rpartition(".")[2]) == name


def test_a_section_is_read_and_another_method_may_take_its_place() -> None:
    section = {"name": "tap", "margin": 0.5, "gate": "paired"}
    tap = make(section)
    assert isinstance(tap, Tap)
    assert (tap.params.margin, tap.params.gate, tap.params.scope) == (0.5, "paired", "path")
    assert make(section, "tap").params == tap.params
    assert make(section, "fedavg").name == "fedavg"
    assert make({}).name == "tap"


@pytest.mark.parametrize(
    ("section", "method", "said"),
    [
        ({"name": "fedvag"}, None, "method: no method 'fedvag'; did you mean 'fedavg'?"),
        ({"name": "tap"}, "lokal", "method: no method 'lokal'; did you mean 'local'?"),
        ({"name": "tap", "margn": 1}, None, "method 'tap': unknown key 'margn'; did you mean 'margin'?"),
        ({"name": "tap", "margn": 1}, "fedavg", "method: unknown key 'margn'; did you mean 'margin'?"),
        ({"name": "fedavg", "margin": 1}, None, "method 'fedavg': unknown key 'margin'"),
        ({"name": "tap", "gate": "pared"}, None, "method 'tap': 'gate'"),
        ({"name": "tap", "margin": -1}, None, "method 'tap': 'margin'"),
        ({"name": "tap", "margin": float("inf")}, None, "method 'tap': 'margin'"),
        ({"name": "tap", "alpha": 1.0}, None, "method 'tap': 'alpha'"),
        ({"name": "tap", "temperature": 0}, None, "method 'tap': 'temperature'"),
    ],
)
def test_mistakes_are_named_in_one_line(section: dict[str, object], method: str | None, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as raised:
        make(section, method)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("key", ["margins", "weights"])
def test_a_family_that_does_not_exist_is_refused(key: str) -> None:
    with pytest.raises(UserError, match="no task family 'image_generaton'; did you mean 'image_generation'"):
        make({"name": "tap", key: {"image_generaton": 0.1}})
    assert make({"name": "tap", key: {"image_generation": 0.1}}).name == "tap"


def test_the_families_are_those_that_pairs_have() -> None:
    from fedtap.pairs import FAMILIES, Pair

    classify = [Pair("a", "classification", modality, "d").family for modality in ("image", "text", "image+text")]
    redraw = Pair("b", "reconstruction", "image", "d").family
    write = [Pair("c", "text_generation", modality, "d").family for modality in ("image", "text", "image+text")]
    several = [
        Pair("d", "multilabel_classification", modality, "d").family for modality in ("image", "text", "image+text")
    ]
    assert several == classify  # a picture or a text is told what it is, by one class or by several labels
    measure = [Pair("e", "regression", modality, "d").family for modality in ("image", "text", "image+text")]
    assert {*classify, redraw, *write, *measure} == set(FAMILIES)
