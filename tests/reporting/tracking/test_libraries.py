"""The real libraries: a run is tracked, taken up again, and what they stored is read back with their own readers or messages.

Each is skipped where its library is not installed; none of them asks a network.
"""

import os
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from fedtap.reporting.run.record import read_run
from fedtap.reporting.tracking import observer
from fedtap.reporting.tracking.observer import Tracking
from fedtap.reporting.tracking.values import final_values, round_values
from synthetic_run import write_run

GAIN = "gain/personal/over/finetuned/mean"
LOSS = "loss/image_classification/federated"
RUNS = "a-run"


def needs(package: str) -> pytest.MarkDecorator:
    missing = find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed (extra `{package}`)")


pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of the libraries' own parts
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a run of eight rounds that is to be tracked; variables of the user's do not reach the libraries."""
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "WANDB_")):
            monkeypatch.delenv(name)
    for seconds in ("PATIENCE", "HURRY"):  # a busy machine takes long
        monkeypatch.setattr(observer, seconds, 300.0)
    yield tmp_path / RUNS
    for name in list(os.environ):  # that they were given
        if name.startswith(("MLFLOW_", "WANDB_")):
            os.environ.pop(name)


def track_twice(folder: Path, name: str) -> dict[str, float]:
    """Track a run that is interrupted after half of its rounds, then to its end; return what it ended with."""
    said: list[str] = []

    def once() -> Tracking:
        return Tracking(folder, [name], project="our project", offline=True, say=said.append)

    write_run(folder, finished=False)
    with pytest.raises(KeyboardInterrupt), once():
        raise KeyboardInterrupt
    write_run(folder, outcomes=1)
    with once():
        pass
    assert said == []
    return final_values(read_run(folder))


def losses(folder: Path) -> list[tuple[int, float]]:
    record = read_run(folder)
    return [(number, round_values(record.events, record.config, number)[0][LOSS]) for number in range(1, 9)]


def stored(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def records(data: bytes) -> Iterator[bytes]:
    """Give the records of a file of Weights & Biases: after a head of seven bytes LevelDB's log, in blocks of 32 KiB."""
    assert data[:4] == b":W&B"
    at, parts = 7, b""
    while at + 7 <= len(data):
        if (left := 32_768 - at % 32_768) < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


@needs("tensorboard")
def test_tensorboard_reads_what_was_written(folder: Path) -> None:
    final = track_twice(folder, "tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    place = folder / "tensorboard"
    assert len(list(place.iterdir())) == 2
    found = EventAccumulator(str(place), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    told = [(event.step, event.value) for event in found.Scalars(LOSS)]
    assert told == [(step, pytest.approx(value, rel=1e-6)) for step, value in losses(folder)]
    assert [(event.step, event.value) for event in found.Scalars(GAIN)] == [(8, pytest.approx(final[GAIN], rel=1e-6))]
    (scenario,) = found.Tensors("scenario")
    assert b"| rounds | 8 |" in scenario.tensor_proto.string_val[0]
    assert set(final) <= set(found.Tags()["scalars"])
    assert socket.gethostname() not in "".join(path.name for path in place.iterdir())
    assert str(folder).encode() not in stored(place)


@needs("mlflow")
def test_mlflow_reads_what_was_written(folder: Path) -> None:
    final = track_twice(folder, "mlflow")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("our project")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "synthetic-tap-seed3")
    assert run.data.params["rounds"] == "8"
    assert run.data.metrics[GAIN] == pytest.approx(final[GAIN])
    assert set(final) <= set(run.data.metrics)
    history = sorted((each.step, each.value) for each in client.get_metric_history(run.info.run_id, LOSS))
    assert history == [(step, pytest.approx(value)) for step, value in losses(folder)]
    assert {"mlflow.user", "mlflow.source.name", "mlflow.source.git.commit"}.isdisjoint(run.data.tags)
    assert str(folder.parent).encode() not in (folder.parent / "mlflow.db").read_bytes()


@needs("wandb")
def test_wandb_reads_what_was_written_offline(folder: Path) -> None:
    final = track_twice(folder, "wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 2
    ids, values = set(), dict[str, list[str]]()
    for file in files:
        for data in records(file.read_bytes()):
            record = Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "run":
                ids.add((record.run.run_id, record.run.project, record.run.host))
            for item in record.history.item:
                values.setdefault(item.key or "/".join(item.nested_key), []).append(item.value_json)
    (about,) = ids
    assert about[1:] == ("our project", "fedtap")
    assert [int(value) for value in values["round"]] == [*range(1, 9), 8]
    assert [float(value) for value in values[LOSS]] == [pytest.approx(value) for _, value in losses(folder)]
    assert float(values[GAIN][0]) == pytest.approx(final[GAIN])
    told = b"".join(file.read_bytes() for file in files)
    assert str(folder).encode() not in told
    assert socket.gethostname().encode() not in told
