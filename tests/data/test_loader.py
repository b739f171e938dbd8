"""Batches: who is in them, in which order, and padded how far."""

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from fedtap.batch import NO_TOKEN as NONE
from fedtap.batch import Batch, batch_size
from fedtap.data.loader import ClientData, Pictures, TaskExamples, class_weights
from tiny import CPU, DIGITS, LAW, MEMES, MOOD, REDRAW, VQA, client_data, examples

SIZES = {"digits": 5, "mood": 11, "memes": 4}


def tagged(sizes: dict[str, int]) -> ClientData:
    """Return classification data whose targets are numbered through all tasks, so that a batch tells who is in it."""
    tasks, first = {}, 0
    for pair in (DIGITS, MOOD, MEMES):
        made, n = examples(pair, sizes[pair.task]), sizes[pair.task]
        tasks[pair.task] = {"train": TaskExamples(pair, made.image, made.text, torch.arange(first, first + n))}
        first += n
    return ClientData(tasks)


def draw(
    data: ClientData, *, size: int, steps: int, seed: int = 0, tasks: tuple[str, ...] = tuple(SIZES)
) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    return list(data.draw(tasks, size=size, steps=steps, generator=generator, device=CPU))


def in_order(batch: Batch) -> list[int]:
    """Return the numbers of a batch's examples, by row."""
    rows = torch.cat([part.rows for part in batch])
    assert sorted(rows.tolist()) == list(range(batch_size(batch)))
    return torch.cat([part.target for part in batch])[rows.argsort()].tolist()


@pytest.mark.parametrize("size", [1, 3, 8, 20])
def test_every_example_is_drawn_once_before_any_is_drawn_twice(size: int) -> None:
    batches = draw(tagged(SIZES), size=size, steps=-(-60 // size))
    assert {batch_size(batch) for batch in batches} == {size}
    drawn = [number for batch in batches for number in in_order(batch)]
    turns = [drawn[start : start + 20] for start in (0, 20, 40)]
    assert all(sorted(turn) == list(range(20)) for turn in turns)
    assert turns[0] != turns[1] != turns[2]


def test_tasks_come_in_proportion_to_their_examples() -> None:
    data = client_data((DIGITS, MOOD), {"digits": 30, "mood": 10})
    batches = draw(data, size=10, steps=40, tasks=("digits", "mood"))
    counts = Counter({"digits": 0, "mood": 0})
    for batch in batches:
        for part in batch:
            counts[part.pair.task] += len(part)
    assert counts == {"digits": 300, "mood": 100}
    assert len({tuple(len(part) for part in batch) for batch in batches}) > 3  # a draw, not a fixed mix


def test_a_batch_holds_all_there_are_where_they_are_fewer() -> None:
    data = client_data((DIGITS,), 3)
    assert [batch_size(batch) for batch in draw(data, size=8, steps=2, tasks=("digits",))] == [3, 3]


def test_a_draw_is_determined_by_its_generator() -> None:
    data = client_data((DIGITS, LAW), 9)

    def labels(seed: int) -> list[list[int]]:
        batches = draw(data, size=6, steps=4, seed=seed, tasks=("digits", "law"))
        return [part.target.flatten().tolist() for batch in batches for part in batch]

    assert labels(1) == labels(1) != labels(2)


def test_a_batch_is_grouped_by_task_and_remembers_its_rows() -> None:
    data = client_data((DIGITS, VQA), 4)
    batch = data.collate([("vqa", 2), ("digits", 0), ("vqa", 1)])
    assert [(part.pair.task, part.rows.tolist()) for part in batch] == [("digits", [1]), ("vqa", [0, 2])]
    held = data.tasks["vqa"]["train"]
    for place, index in enumerate((2, 1)):
        assert np.array_equal(batch[1].image[place].numpy(), held.image[index].astype(np.float32))
        length = len(held.text[index])
        assert np.array_equal(batch[1].text[place, :length].numpy(), held.text[index].astype(np.float32))


def test_texts_are_padded_to_the_longest_of_their_batch_only() -> None:
    made = examples(MOOD, 30)
    lengths = [len(text) for text in made.text]
    chosen = [lengths.index(2), lengths.index(5), lengths.index(3)]
    part = made.take(chosen, [7, 8, 9])
    assert part.rows.tolist() == [7, 8, 9]
    assert part.image is None
    assert part.text.shape == (3, 5, 10)
    assert part.text.dtype == torch.float32
    assert part.text_mask.sum(dim=1).tolist() == [2, 5, 3]
    assert part.text_mask.int().diff(dim=1).max() <= 0  # padding follows the tokens
    assert not part.text[~part.text_mask].any()


def test_answers_are_cut_to_the_longest_of_their_batch() -> None:
    target = torch.tensor([[5, 3, NONE, NONE], [5, 0, 3, NONE], [3, NONE, NONE, NONE], [5, 5, 5, 3]])
    made = TaskExamples(LAW, None, examples(LAW, 4).text, target)
    assert made.take([0, 1], [0, 1]).target.tolist() == [[5, 3, NONE], [5, 0, 3]]
    assert made.take([2], [0]).target.tolist() == [[3]]
    assert made.take([3, 2], [0, 1]).target.tolist() == [[5, 5, 5, 3], [3, NONE, NONE, NONE]]


def test_pictures_become_targets_in_the_normalised_image_space() -> None:
    pictures = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    pictures[1, 0, 0, :3] = torch.tensor([51, 128, 255])
    made = TaskExamples(REDRAW, examples(REDRAW, 2).image, None, pictures)
    target = made.take([1, 0], [0, 1]).target
    assert target[0, 0, 0, :4].tolist() == pytest.approx([-0.6, 1 / 255, 1.0, -1.0], abs=1e-6)
    assert torch.equal(target[1], -torch.ones(3, 64, 64))


def test_all_examples_in_order() -> None:
    made = examples(DIGITS, 7)
    batches = list(made.batches(3, CPU))
    assert [batch_size(batch) for batch in batches] == [3, 3, 1]
    assert torch.equal(torch.cat([batch[0].target for batch in batches]), made.target)
    assert [batch[0].rows.tolist() for batch in batches] == [[0, 1, 2], [0, 1, 2], [0]]


def test_token_ids_stay_whole_numbers_and_are_padded_with_a_mask() -> None:
    ids = [np.array([2, 7, 3]), np.array([2, 3])]
    batch = TaskExamples(MOOD, None, ids, torch.tensor([0, 1])).whole()
    assert batch.text is not None
    assert batch.text.dtype == torch.long
    assert batch.text.tolist() == [[2, 7, 3], [2, 3, 0]]
    assert batch.text_mask is not None
    assert batch.text_mask.tolist() == [[True, True, True], [True, True, False]]


def test_pixels_are_stacked_as_they_are() -> None:
    pictures = [np.full((3, 4, 4), value, np.float32) for value in (0.5, -1.0)]
    batch = TaskExamples(DIGITS, pictures, None, torch.tensor([0, 1])).take([1, 0], [0, 1])
    assert batch.image is not None
    assert batch.image.shape == (2, 3, 4, 4)
    assert batch.image[:, 0, 0, 0].tolist() == [-1.0, 0.5]


def test_targets_are_those_of_the_batches() -> None:
    made = examples(REDRAW, 3)
    assert torch.equal(made.targets(), made.whole().target)
    assert made.targets().abs().max() <= 1


def test_a_picture_to_draw_is_read_when_a_batch_needs_it_and_once() -> None:
    read: list[int] = []

    def picture(number: int) -> np.ndarray:
        read.append(number)
        return np.full((64, 64, 3), number, np.uint8)

    pictures = Pictures([partial(picture, number) for number in range(4)])
    features = [np.zeros((2, 3), np.float16)] * 4
    made = TaskExamples(REDRAW, features, None, pictures)
    assert (len(made), read) == (4, [])
    batch = made.take([3, 1], [0, 1])
    assert batch.target.shape == (2, 3, 64, 64)
    assert batch.target[:, 0, 0, 0].tolist() == pytest.approx([3 / 127.5 - 1, 1 / 127.5 - 1])
    made.take([1, 2], [0, 1])
    assert read == [3, 1, 2]


NAMES = ("a", "b", "röd")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("balanced", [4 / (2 * 1), 4 / (2 * 3), 1.0]),  # nobody has the third
        ({"a": 3.0}, [12 / 6, 4 / 6, 4 / 6]),
        ({"b": 2.0, "ro\u0308d": 5.0}, [4 / 7, 8 / 7, 20 / 7]),
    ],
)
def test_class_weights_have_a_mean_of_one(asked: Any, expected: list[float]) -> None:
    labels = torch.tensor([0, 1, 1, 1])
    found = class_weights(asked, NAMES, labels)
    torch.testing.assert_close(found, torch.tensor(expected))
    assert float(found[labels].mean()) == pytest.approx(1.0)


def test_a_batch_has_the_weights_of_its_examples() -> None:
    made = replace(examples(DIGITS, 4), weights=torch.tensor([1.0, 2.0, 3.0, 4.0]))
    batch = made.take([3, 0], [0, 1])
    assert batch.weights is not None
    assert batch.weights.tolist() == [4.0, 1.0]
    assert batch.to(CPU).weights.tolist() == [4.0, 1.0]
    assert examples(DIGITS, 4).take([3, 0], [0, 1]).weights is None
