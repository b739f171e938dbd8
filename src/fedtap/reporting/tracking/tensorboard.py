"""TensorBoard: event files in the run's folder, written with the protocol of the package `tensorboard`; no torch, no TensorFlow.

The files' names say when and nothing else: the package's own writer puts the machine's name into them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedtap.reporting.tracking.base import About, Ending

FOLDER = "tensorboard"


class TensorBoard:
    """A run's event files; a resumed run begins another one, and TensorBoard shows them as one run."""

    def __init__(self, folder: Path, parameters: Mapping[str, str]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._event = Event
        now = time.time()
        place = folder / f"events.out.tfevents.{now:017.6f}.fedtap"
        self._writer = RecordWriter(place.open("xb"))
        self._write(Event(wall_time=now, file_version="brain.Event:2"))
        if parameters:
            self._write(Event(wall_time=now, step=0, summary=_table(parameters)))

    @property
    def id(self) -> str:
        """By the place alone it is known."""
        return FOLDER

    def log(self, step: int, values: Mapping[str, float], *, at: float) -> None:
        """Write the values of a round."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        told = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(self._event(wall_time=at, step=step, summary=Summary(value=told)))

    def end(self, how: Ending) -> None:
        """Close the file."""
        self._writer.close()

    def _write(self, event: Any) -> None:
        self._writer.write(event.SerializeToString())
        self._writer.flush()


def start(about: About, id: str | None) -> TensorBoard:
    """Begin an event file; the scenario is told once, with the first."""
    return TensorBoard(about.folder / FOLDER, about.parameters if id is None else {})


def _table(parameters: Mapping[str, str]) -> Any:
    """Return the scenario as a summary of the text plugin: a table in Markdown."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    lines = ["| key | value |", "|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in parameters.items())]
    about = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    tensor = TensorProto(dtype=DT_STRING, string_val=["\n".join(lines).encode()])
    return Summary(value=[Summary.Value(tag="scenario", metadata=about, tensor=tensor)])


def _cell(value: str) -> str:
    return value.replace("|", "\\|").replace("\n", " ")
