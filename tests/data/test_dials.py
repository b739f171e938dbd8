"""The dials by which clients contradict each other: who is in conflict, what is exchanged, what a shift does, and where."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fedtap.data.cross import CrossExamples
from fedtap.data.dials.conflict import exchange, exchanged
from fedtap.data.dials.shift import repainted, reworded
from fedtap.data.dials.turns import turned
from fedtap.data.example import ImageRef
from fedtap.data.partition import Partition, fingerprints, partition
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import Scenario, build_scenario, load_scenario
from tiny import DIGITS, MEMES, MOOD, REDRAW_DIGITS, file_scenario, scenario_of

CLIENTS = {f"c{i}": (DIGITS, MOOD) for i in range(4)}
SIZES = {"train": 8, "validation": 3, "test": 4}


def scenario(folder: Path, clients: Mapping[str, Any] = CLIENTS, **data: Any) -> Scenario:
    return file_scenario(folder / "files", clients, data={**SIZES, **data})


def with_dials(plain: Scenario, **dials: Any) -> Scenario:
    raw = plain.resolved()
    raw["data"] = {**raw["data"], **dials}
    return build_scenario(raw, place="tiny", folder=plain.folder)


def labels(shares: Partition, client: str, task: str) -> list[tuple[str, int]]:
    splits = shares[client][task]
    return [(e.key, int(str(e.target))) for split in ("train", "validation", "test") for e in splits[split]]


@given(st.integers(2, 40), st.floats(0.01, 1), st.integers(0, 1000))
def test_the_classes_exchanged_go_round_in_one_cycle(classes: int, share: float, seed: int) -> None:
    called = exchange(classes, share, np.random.default_rng(seed)).tolist()
    moved = [number for number in range(classes) if called[number] != number]
    assert len(moved) == min(classes, max(2, round(share * classes)))
    reached, here = 1, called[moved[0]]
    while here != moved[0]:
        reached, here = reached + 1, called[here]
    assert reached == len(moved)


def test_conflict_exchanges_the_labels_of_some_clients_in_all_their_splits_and_nothing_else(tmp_path: Path) -> None:
    plain = scenario(tmp_path)
    dialled = with_dials(plain, conflict={"clients": 0.5, "tasks": ["digits"]})
    before, after = partition(plain, 0), partition(dialled, 0)
    called = exchanged(dialled, 0)
    assert len(called) == 2  # of four, on one of two tasks
    assert {task for _, task in called} == {"digits"}
    for client in CLIENTS:
        for task in ("digits", "mood"):
            old, new = labels(before, client, task), labels(after, client, task)
            names = called.get((client, task), np.arange(3))
            assert new == [(key, names[label]) for key, label in old]
            kept = [example.stratum for example in before[client][task].train]
            assert [example.stratum for example in after[client][task].train] == kept
    assert set(fingerprints(before)) == set(fingerprints(after))
    changed = {client for client, one in fingerprints(before).items() if fingerprints(after)[client] != one}
    assert changed == {client for client, _ in called}


def test_the_cross_client_test_asks_the_labels_of_those_whose_examples_they_are(tmp_path: Path) -> None:
    dialled = with_dials(scenario(tmp_path), conflict=1)
    shares = partition(dialled, 0)
    others = {(e.key, e.target) for client in ("c1", "c2", "c3") for e in shares[client]["digits"].test}
    asked = CrossExamples(dialled.participants, shares, 0).draw("c0", DIGITS, 100)["digits"]
    assert {(e.key, e.target) for e in asked} <= others
    assert len({e.target for e in asked}) > 1


def test_a_number_is_the_share_of_the_clients_and_seeds_draw_other_clients(tmp_path: Path) -> None:
    plain = scenario_of(CLIENTS)
    assert exchanged(with_dials(plain, conflict=0), 0) == {}
    assert exchanged(with_dials(plain, conflict={"clients": 1, "classes": 0}), 0) == {}
    assert len(exchanged(with_dials(plain, conflict=1.0), 0)) == 8
    half = with_dials(plain, conflict=0.5)
    drawn = [frozenset(exchanged(half, seed)) for seed in range(8)]
    assert len(set(drawn)) > 1
    assert drawn[0] == frozenset(exchanged(half, 0))
    named = with_dials(plain, conflict={"clients": 1})
    orders = {tuple(called.tolist()) for seed in range(4) for called in exchanged(named, seed).values()}
    assert orders == {(1, 2, 0), (2, 0, 1)}  # the two cycles of three classes


def test_a_task_of_one_client_has_nobody_to_be_in_conflict_with() -> None:
    alone = scenario_of({"a": (DIGITS,), "b": (MOOD,)})
    assert exchanged(with_dials(alone, conflict=1), 0) == {}
    for name in ("digits", "moood"):
        with pytest.raises(UserError, match=f"data.conflict.tasks: '{name}' is no classification task that several"):
            exchanged(with_dials(alone, conflict={"clients": 1, "tasks": [name]}), 0)


PICTURE = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10


def test_what_each_shift_does_to_a_picture_by_hand() -> None:
    assert np.array_equal(repainted(PICTURE, "invert", ""), 255 - PICTURE)
    turned_left = repainted(PICTURE, "rotate", "")
    assert turned_left.shape == (4, 2, 3)
    assert np.array_equal(turned_left[0, 0], PICTURE[0, 3])
    assert repainted(PICTURE, "tint", "")[1, 0].tolist() == [120, 78, 42]  # of 120, 130, 140: all, 0.6, 0.3
    noisy = repainted(np.full((64, 64, 3), 128, np.uint8), "noise", "a")
    assert np.array_equal(noisy, repainted(np.full((64, 64, 3), 128, np.uint8), "noise", "a"))
    assert not np.array_equal(noisy, repainted(np.full((64, 64, 3), 128, np.uint8), "noise", "b"))
    assert 44 < float(noisy.std()) < 52
    edge = np.zeros((32, 32, 3), np.uint8)
    edge[:, 16:] = 255
    blurred = repainted(edge, "blur", "")
    assert 0 < int(blurred[16, 15, 0]) < int(blurred[16, 16, 0]) < 255
    assert all(repainted(PICTURE, kind, "").dtype == np.uint8 for kind in ("invert", "rotate", "tint", "noise", "blur"))


def test_a_dialect_replaces_half_of_all_words_each_always_the_same() -> None:
    words = [f"word{letter}{other}" for letter in "abcdefghijkl" for other in "abcdefghijkl"]
    spoken = reworded(" ".join(words), "vocabulary").split()
    changed = [word for word, said in zip(words, spoken, strict=True) if word != said]
    assert 0.4 < len(changed) / len(words) < 0.6
    assert reworded(f"{changed[0]}, and 12 {changed[0].upper()}!", "vocabulary").count(changed[0]) == 0
    assert reworded("", "vocabulary") == ""
    assert reworded("one two three", "length") == "one two"


def test_shifts_are_dealt_in_turn_and_reach_what_a_task_looks_at(tmp_path: Path) -> None:
    clients = {"a": (DIGITS, MOOD), "b": (DIGITS, REDRAW_DIGITS), "c": (MEMES,), "d": (DIGITS, MOOD)}
    dials = {"pictures": ["as_is", "invert", "blur"], "texts": ["length", "as_is"]}
    turns = turned(with_dials(scenario_of(clients), shift=dials), 0)
    assert set(turns) == {("a", "mood"), ("b", "digits"), ("b", "redraw_digits"), ("c", "memes")}
    whole = scenario(tmp_path, {"a": (DIGITS, MOOD), "b": (DIGITS, MOOD)})
    before, after = (
        partition(whole, 0),
        partition(with_dials(whole, shift={"pictures": "invert", "texts": "length"}), 0),
    )
    for client in ("a", "b"):
        for split in ("train", "validation", "test"):
            for old, new in zip(before[client]["digits"][split], after[client]["digits"][split], strict=True):
                assert isinstance(old.image, ImageRef)
                assert isinstance(new.image, ImageRef)
                assert np.array_equal(new.image.load(), 255 - old.image.load())
                assert new.image.digest != old.image.digest  # other features
                assert (new.key, new.image.key, new.target) == (old.key, old.image.key, old.target)
            read = [example.text for example in after[client]["mood"][split]]
            assert read == [reworded(str(example.text), "length") for example in before[client]["mood"][split]]


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"conflict": 2}, "data.conflict.clients"),
        ({"conflict": {"clints": 1}}, "clints.; did you mean .clients."),
        ({"conflict": True}, "data.conflict"),
        ({"shift": {"pictures": ["sepia"]}}, "data.shift.pictures"),
        ({"shift": {"texts": []}}, "data.shift.texts"),
    ],
)
def test_a_dial_turned_too_far_is_refused_in_one_line(dials: dict[str, Any], message: str, tmp_path: Path) -> None:
    raw = scenario_of(CLIENTS).resolved()
    raw["data"] = {**SIZES, **dials}
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(UserError, match=message) as refused:
        load_scenario(path)
    assert "\n" not in str(refused.value)
