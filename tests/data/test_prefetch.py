"""Batches made ahead: the same, in order, not too many, and whatever goes wrong is told."""

import threading
from collections.abc import Iterator

import pytest
import torch

from fedtap.data.prefetch import DEPTH, on_device, prefetch
from tiny import CPU, DIGITS, MOOD, VQA, client_data, generator

PAIRS = (DIGITS, MOOD, VQA)


def test_items_come_in_their_order_and_are_made_in_one_other_thread() -> None:
    made_in: set[int] = set()

    def items() -> Iterator[int]:
        for i in range(20):
            made_in.add(threading.get_ident())
            yield i

    assert list(prefetch(items())) == list(range(20))
    assert len(made_in) == 1
    assert threading.get_ident() not in made_in
    assert list(prefetch([])) == []


def test_no_more_are_made_than_asked_for() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(20):
            made.append(i)
            yield i

    ahead = prefetch(items())
    assert next(ahead) == 0
    ahead.close()  # type: ignore[attr-defined]  # it is a generator
    assert len(made) <= 1 + DEPTH


def test_a_fault_is_raised_in_its_place_and_ends_the_thread() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the picture cannot be read")

    before = threading.active_count()
    ahead = prefetch(items())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="cannot be read"):
        next(ahead)
    assert threading.active_count() == before


def test_batches_made_ahead_are_those_made_when_needed() -> None:
    data, names = client_data(PAIRS), [pair.task for pair in PAIRS]

    def drawn(ahead: bool) -> list[list[torch.Tensor]]:
        batches = data.draw(names, size=8, steps=5, generator=generator("draw"), device=CPU)
        return [[part.target for part in batch] for batch in (prefetch(batches) if ahead else batches)]

    for with_it, without in zip(drawn(True), drawn(False), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(with_it, without, strict=True))


def test_a_batch_is_moved_whole_and_its_rows_stay() -> None:
    (batch,) = client_data((VQA,), 4).draw([VQA.task], size=4, steps=1, generator=generator("draw"), device=CPU)
    (moved,) = on_device(iter([batch]), torch.device("meta"))
    (part,) = moved
    assert {t.device.type for t in (part.image, part.text, part.text_mask, part.target) if t is not None} == {"meta"}
    assert part.rows.device.type == "cpu"
    assert [None if t is None else t.shape for t in (part.image, part.text)] == [
        batch[0].image.shape,
        batch[0].text.shape,
    ]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_an_accelerator_the_numbers_are_the_same() -> None:
    data, names = client_data(PAIRS), [pair.task for pair in PAIRS]
    device = torch.device("cuda")
    here, there = (
        list(data.draw(names, size=8, steps=3, generator=generator("draw"), device=place)) for place in (CPU, device)
    )
    for a, b in zip(here, there, strict=True):
        for mine, theirs in zip(a, b, strict=True):
            assert theirs.target.device.type == "cuda"
            assert torch.equal(mine.target, theirs.target.cpu())
