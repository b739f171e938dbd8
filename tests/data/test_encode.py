"""The feature cache: exact, shared, and never served from a damaged shard."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from fedtap.backbones.base import Tower
from fedtap.backbones.untrained import TinyTextTower
from fedtap.data import encode
from fedtap.data.encode import FeatureCache, default_folder, inputs_of
from fedtap.runtime.errors import RunError, UserError

Items = list[tuple[str, Callable[[], int]]]


class Counting(Tower[int]):
    """Item n becomes n % 3 + 1 tokens (n, n + 1/2, ...), and is noted."""

    def __init__(self, id: str = "counting") -> None:
        super().__init__(name="counting", id=id, dim=2, batch=1, device=torch.device("cpu"))
        self.encoded: list[int] = []

    def load(self) -> torch.nn.Module:
        raise AssertionError("nothing to load")

    def prepare(self, item: int) -> np.ndarray:
        self.encoded.append(item)
        return np.arange(item)

    def encode(self, items: Iterable[int]) -> list[np.ndarray]:
        numbers = list(items)
        self.encoded += numbers
        return [expected(n) for n in numbers]


def expected(n: int) -> np.ndarray:
    return np.array([[n + token / 2, -n] for token in range(n % 3 + 1)], np.float32)


def items(*numbers: int) -> Items:
    return [(f"digest-{n}", lambda n=n: n) for n in numbers]  # type: ignore[misc]


def check(features: list[np.ndarray], numbers: Iterable[int]) -> None:
    for found, n in zip(features, numbers, strict=True):
        np.testing.assert_array_equal(found, expected(n))


def test_features_in_the_order_asked_for_and_hits_do_not_call_the_tower(tmp_path: Path) -> None:
    tower = Counting()
    cache = FeatureCache(tmp_path, tower)
    check(cache.get(items(3, 1, 2, 1)), [3, 1, 2, 1])
    assert tower.encoded == [3, 1, 2]
    check(cache.get(items(2, 3)), [2, 3])
    check(FeatureCache(tmp_path, tower).get(items(1, 2, 3)), [1, 2, 3])
    assert tower.encoded == [3, 1, 2]
    check(cache.get(items(2, 9)), [2, 9])
    assert tower.encoded == [3, 1, 2, 9]
    assert cache.get([]) == []


def test_views_into_the_file_and_read_only(tmp_path: Path) -> None:
    features = FeatureCache(tmp_path, Counting()).get(items(1, 2))
    assert [view.dtype for view in features] == [np.float16, np.float16]
    assert not features[0].flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        features[0][0, 0] = 1


def test_layout_on_disk(tmp_path: Path) -> None:
    FeatureCache(tmp_path, Counting()).get(items(5, 1))
    index, data = sorted((tmp_path / "counting").iterdir(), key=lambda path: path.suffix)
    assert (index.suffix, data.suffix, index.stem) == (".json", ".npy", data.stem)
    about = json.loads(index.read_text())
    assert {name: place[:2] for name, place in about["items"].items()} == {"digest-5": [0, 3], "digest-1": [3, 2]}
    assert about["shape"] == [5, 2]
    assert about["bytes"] == data.stat().st_size
    np.testing.assert_array_equal(np.load(data), np.concatenate([expected(5), expected(1)]))


def test_towers_do_not_mix(tmp_path: Path) -> None:
    first, second = Counting("one"), Counting("two")
    FeatureCache(tmp_path, first).get(items(1))
    FeatureCache(tmp_path, second).get(items(1))
    assert second.encoded == [1]


def test_new_shards_of_another_process_are_found_on_a_miss(tmp_path: Path) -> None:
    mine, theirs = Counting(), Counting()
    cache = FeatureCache(tmp_path, mine)
    cache.get(items(1))
    FeatureCache(tmp_path, theirs).get(items(2, 3))
    check(cache.get(items(1, 2, 3)), [1, 2, 3])
    assert mine.encoded == [1]


def test_large_work_is_cut_into_shards_and_progress_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "SHARD_BYTES", 100)
    calls: list[tuple[int, int]] = []
    tower = Counting()
    numbers = range(100)
    check(FeatureCache(tmp_path, tower).get(items(*numbers), lambda done, of: calls.append((done, of))), numbers)
    assert calls == [(n, 100) for n in (16, 32, 48, 64, 80, 96, 100)]
    assert len(list(tmp_path.glob("counting/*.npy"))) == 7
    calls.clear()
    check(FeatureCache(tmp_path, tower).get(items(*numbers), lambda done, of: calls.append((done, of))), numbers)
    assert calls == []


def test_finished_shards_survive_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "SHARD_BYTES", 1)

    def broken() -> int:
        raise KeyboardInterrupt

    work = [*items(*range(16)), ("digest-bad", broken)]
    with pytest.raises(KeyboardInterrupt):
        FeatureCache(tmp_path, Counting()).get(work)
    tower = Counting()
    FeatureCache(tmp_path, tower).get(items(*range(17)))
    assert tower.encoded == [16]


def data_of(folder: Path) -> Path:
    return next(folder.glob("counting/*.npy"))


def index_of(folder: Path) -> Path:
    return next(folder.glob("counting/*.json"))


def edit(folder: Path, **changes: object) -> None:
    index_of(folder).write_text(json.dumps({**json.loads(index_of(folder).read_text()), **changes}))


def wrong_array(folder: Path, array: np.ndarray) -> None:
    np.save(data_of(folder), array)
    edit(folder, bytes=data_of(folder).stat().st_size)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: os.truncate(data_of(folder), data_of(folder).stat().st_size - 1),
        lambda folder: os.truncate(data_of(folder), 0),
        lambda folder: data_of(folder).unlink(),
        lambda folder: index_of(folder).unlink(),
        lambda folder: os.truncate(index_of(folder), index_of(folder).stat().st_size // 2),
        lambda folder: index_of(folder).write_bytes(b"\xff\xfe\x00"),
        lambda folder: index_of(folder).write_text("[]"),
        lambda folder: edit(folder, items={"digest-1": [0, 99], "digest-2": [2, 3]}),
        lambda folder: edit(folder, items={"digest-1": 0}),
        lambda folder: edit(folder, shape=[4, 2]),
        lambda folder: edit(folder, schema=0),
        lambda folder: wrong_array(folder, np.zeros((5, 2), np.float32)),
        lambda folder: wrong_array(folder, np.zeros((5, 3), np.float16)),
        lambda folder: data_of(folder).write_bytes(b"x" * data_of(folder).stat().st_size),
    ],
)
def test_damaged_shards_are_rebuilt_and_never_used(damage: Callable[[Path], object], tmp_path: Path) -> None:
    FeatureCache(tmp_path, Counting()).get(items(1, 2))
    damage(tmp_path)
    tower, said = Counting(), list[str]()
    check(FeatureCache(tmp_path, tower, note=said.append).get(items(1, 2)), [1, 2])
    assert tower.encoded == [1, 2]
    assert all("made again" in line and "shard-" in line for line in said)
    again = Counting()
    check(FeatureCache(tmp_path, again).get(items(1, 2)), [1, 2])
    assert again.encoded == []


def test_each_flipped_bit_is_found_said_and_never_used(tmp_path: Path) -> None:
    FeatureCache(tmp_path, Counting()).get(items(1, 2))
    whole = {path: path.read_bytes() for path in (data_of(tmp_path), index_of(tmp_path))}
    for path, content in whole.items():
        for place in range(0, len(content), 1 if len(content) < 300 else 3):
            for each, intact in whole.items():
                each.write_bytes(intact)
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
            said: list[str] = []
            tower = Counting()
            check(FeatureCache(tmp_path, tower, note=said.append).get(items(1, 2)), [1, 2])
            assert said or not tower.encoded or path.suffix == ".json"  # an item under another name is merely not there


def test_a_shard_of_another_tower_is_not_used(tmp_path: Path) -> None:
    FeatureCache(tmp_path, Counting("one")).get(items(1))
    (tmp_path / "one").rename(tmp_path / "two")
    tower, said = Counting("two"), list[str]()
    check(FeatureCache(tmp_path, tower, note=said.append).get(items(1)), [1])
    assert (tower.encoded, len(said)) == ([1], 1)


def test_a_shard_takes_no_file_descriptor(tmp_path: Path) -> None:
    for number in range(60):
        FeatureCache(tmp_path, Counting()).get(items(number))
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    features = FeatureCache(tmp_path, Counting()).get(items(*range(60)))
    check(features, range(60))
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_an_index_that_cannot_be_read_is_told_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FeatureCache(tmp_path, Counting()).get(items(1))

    def no_more(path: Path) -> bytes:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Path, "read_bytes", no_more)
    with pytest.raises(UserError, match=r"shard-.*json: the feature cache cannot be read \(Too many open files\)"):
        FeatureCache(tmp_path, Counting()).get(items(1))


def test_without_writing_features_are_the_same_and_the_folder_is_left_alone(tmp_path: Path) -> None:
    tower = Counting()
    cache = FeatureCache(tmp_path / "none", tower, write=False)
    check(cache.get(items(1, 2)), [1, 2])
    check(cache.get(items(2, 1)), [2, 1])
    assert tower.encoded == [1, 2]
    assert not (tmp_path / "none").exists()


def test_scraps_of_killed_writes_go_when_they_are_old(tmp_path: Path) -> None:
    FeatureCache(tmp_path, Counting()).get(items(1))
    old, young = (tmp_path / "counting" / f".shard-{name}.npy.abcd1234" for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    FeatureCache(tmp_path, Counting()).get(items(2))
    assert (old.exists(), young.exists()) == (False, True)


def test_features_beyond_float16_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="counting"):
        FeatureCache(tmp_path, Counting()).get(items(70_000))
    assert not list(tmp_path.glob("counting/shard*"))


def failing(number: int) -> Callable[..., None]:
    def write(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    return write


def test_full_disk_and_closed_folder_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(RunError, match="free some space"):
        FeatureCache(tmp_path, Counting()).get(items(1))
    assert list((tmp_path / "counting").iterdir()) == []
    monkeypatch.setattr(os, "fsync", failing(errno.EACCES))
    with pytest.raises(UserError, match="set FEDTAP_CACHE"):
        FeatureCache(tmp_path, Counting()).get(items(1))


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEDTAP_CACHE", str(tmp_path / "here"))
    assert default_folder() == tmp_path / "here"
    monkeypatch.setenv("FEDTAP_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "fedtap" / "features"


TEXTS = [f"is there a {colour} {shape} {n}" for n in range(12) for colour in ("red", "blue") for shape in ("a", "or b")]


def build(folder: str, backwards: bool, barrier: object, results: object) -> None:
    """Build the cache in another process, and report a checksum of what it served."""
    torch.set_num_threads(1)
    order = TEXTS[::-1] if backwards else TEXTS
    encode.SHARD_BYTES = 2000
    tower = TinyTextTower(32, torch.device("cpu"))
    barrier.wait()  # type: ignore[attr-defined]
    features = FeatureCache(Path(folder), tower).get([(text, lambda text=text: text) for text in order])  # type: ignore[misc]
    results.put([np.array(view) for view in (features[::-1] if backwards else features)])  # type: ignore[attr-defined]


def test_two_processes_at_once_both_get_the_right_features(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=build, args=(str(tmp_path), way, barrier, results)) for way in (False, True)]
    for worker in workers:
        worker.start()
    served = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    tower = TinyTextTower(32, torch.device("cpu"))
    right = [features.astype(np.float16) for features in tower.encode(TEXTS)]
    for features in served:
        for found, wanted in zip(features, right, strict=True):
            np.testing.assert_array_equal(found, wanted)
    # What lies on disk now is whole: a third reader is served from it.
    monitor = FeatureCache(tmp_path, tower)
    monitor.get([(text, pytest.fail) for text in TEXTS])


def test_released_features_can_still_be_read(tmp_path: Path) -> None:
    from fedtap.backbones import load_backbone
    from fedtap.scenario.scenario import BackboneSettings

    tower = load_backbone(BackboneSettings(vision="untrained-tiny", text="untrained-tiny")).text
    cache = FeatureCache(tmp_path, tower)
    (features,) = cache.get([("a", lambda: "a warm and funny film")])
    before = np.array(features)
    cache.release()
    assert np.array_equal(features, before)
    assert np.array_equal(cache.get([("a", lambda: "never asked for")])[0], before)


class Raw(Counting):
    """A tower that is trained from its first layer on."""

    @property
    def raw(self) -> bool:
        return True


def test_a_raw_towers_items_are_prepared_when_they_are_asked_for_and_never_stored(tmp_path: Path) -> None:
    tower = Raw()
    inputs = inputs_of(tmp_path, tower).get(items(3, 1, 2))
    assert (len(inputs), tower.encoded) == (3, [])
    np.testing.assert_array_equal(inputs[2], [0, 1])
    np.testing.assert_array_equal(inputs[1:][0], [0])
    assert tower.encoded == [2, 1]
    assert list(tmp_path.iterdir()) == []
    assert isinstance(inputs_of(tmp_path, Counting()), FeatureCache)
