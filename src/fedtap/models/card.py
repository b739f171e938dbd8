"""The card of a model that leaves its run, told for a folder of its own. Not here: what a card says (reporting)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedtap import __version__
from fedtap.models.fit import Place
from fedtap.models.saved_model import SavedModel
from fedtap.reporting.cards import CardTask, model_card
from fedtap.reporting.run.told import checked_rows
from fedtap.runtime.errors import UserError
from fedtap.runtime.manifest import read_listed, read_record
from fedtap.scenario.scenario import BackboneSettings

RESULTS = "results.json"


def card_of_run(run: Path, saved: SavedModel) -> str:
    """Return the card of a model of a run, with its scores where the run has come to its results.

    Raises
    ------
    UserError
        If the run's files are damaged.
    """
    record = read_record(run)
    return model_card(
        client=saved.client,
        model=saved.name,
        method=saved.method,
        scenario=str(record.get("scenario") or "unnamed"),
        seed=saved.seed,
        backbone=_in_words(saved.backbone),
        tasks=[
            CardTask(task.name, task.type, task.modality, task.domain, task.data, task.licence) for task in saved.tasks
        ],
        rows=_rows(run, record["run"]),
        version=__version__,
        of_its_own=True,
    )


def _rows(run: Path, name: str) -> Sequence[Mapping[str, Any]]:
    path = Place(run).file(run / RESULTS)
    if not path.exists():
        return ()
    told = read_listed(run, name, RESULTS)
    if not isinstance(told, dict):
        raise UserError(f"{path}: expected a JSON object; restore it from a copy")
    return checked_rows(told, path)


def _in_words(backbone: BackboneSettings) -> str:
    """Return what the frozen weights are called; of a folder its own name alone, since a place means nothing elsewhere."""
    if backbone.name == "towers":
        return f"towers: {_short(backbone.vision)} + {_short(backbone.text)}"
    return backbone.name if backbone.path is None else f"{backbone.name}: {_short(backbone.path)}"


def _short(name: str) -> str:
    return Path(name).name if Path(name).is_absolute() else name
