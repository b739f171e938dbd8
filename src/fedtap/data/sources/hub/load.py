"""Getting a data set of the Hugging Face hub: from a local folder of the same schema, or from the hub. Not what its rows mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging import ERROR
from pathlib import Path
from typing import Any

from fedtap.hub import record
from fedtap.hub.record import Fetched
from fedtap.runtime.errors import UserError
from fedtap.runtime.installing import install
from fedtap.runtime.storage import raise_full

Splits = Mapping[str, Any]
"""Data sets (``datasets.Dataset``) by the name of their split."""

_WAY_OUT = (
    "run `fedtap fetch SCENARIO`, or save it where it can be had with DatasetDict.save_to_disk, and give that folder as the "
    "task's 'path'"
)


def from_folder(path: Path, *, place: str) -> Splits:
    """Return the splits that ``DatasetDict.save_to_disk`` (or ``Dataset.save_to_disk``, one split) wrote into a folder.

    Nothing is copied into memory and nothing decoded; the files are Arrow and JSON, none of them is unpickled.

    Raises
    ------
    UserError
        If there is no such folder or it holds something else; ``place`` names the task in the message.
    """
    datasets = _library()
    if not path.is_dir():
        raise UserError(f"{path}: no such folder ({place}); create it, or mend 'path'")
    try:
        found = datasets.load_from_disk(str(path))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = _brief(error, path)
        raise UserError(
            f"{path}: not a data set as DatasetDict.save_to_disk writes it ({reason}; {place}); save it anew, or mend 'path'"
        ) from error
    return found if isinstance(found, datasets.DatasetDict) else {str(found.split): found}


def from_hub(name: str, config: str | None, *, place: str) -> Splits:
    """Return the splits of a data set of the hub: what ``fedtap fetch`` has brought, or else what the library ``datasets`` finds.

    Raises
    ------
    UserError
        If it cannot be had: no connection, no such name, no permission; ``place`` names the task in the message.
    RunError
        If the disk is full.
    """
    datasets = _library()
    whole = name if config is None else f"{name} ({config})"
    here = record.at_hand("dataset", name)
    if here is not None and (config or "") in here.parts:
        return from_record(here, config, place=place)
    try:
        with _without_retries_told():
            if here is None:
                found: Splits = datasets.load_dataset(name, config)
            else:  # another configuration of it was fetched: both are of one commit
                found = datasets.load_dataset(name, config, revision=here.revision)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        if isinstance(error, OSError):
            raise_full(error, Path(datasets.config.HF_DATASETS_CACHE))
        raise UserError(
            f"{place}: {whole} cannot be had from the hub: no connection, or a name or permission that it does not know "
            f"({_brief(error)}); connect this machine, or {_WAY_OUT}"
        ) from error
    return found


def from_record(here: Fetched, config: str | None, *, place: str) -> Splits:
    """Return the splits of a data set that was fetched: read from its files, and nobody is asked.

    Raises
    ------
    UserError
        If they cannot be read; ``place`` names the task in the message.
    RunError
        If the disk is full.
    """
    datasets = _library()
    files = {split: list(paths) for split, paths in here.parts[config or ""].items()}
    try:
        with _without_retries_told(), _without_bars(datasets):
            found: Splits = datasets.load_dataset(
                str(here.folder), config, data_files=files, verification_mode="no_checks"
            )
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, datasets.exceptions.DatasetsError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        if isinstance(cause, OSError):
            raise_full(cause, Path(datasets.config.HF_DATASETS_CACHE))
        raise UserError(
            f"{place}: {here.name} at {here.revision[:12]} cannot be read ({_brief(cause, here.folder)}); fetch another "
            f"revision of it: fedtap fetch SCENARIO --revision {here.name}=COMMIT"
        ) from error
    return found


def files_on_hub(name: str, config: str | None, revision: str) -> Mapping[str, tuple[str, ...]]:
    """Return the files of each split of a data set, as ``datasets`` finds them by the data set's own card, which is fetched.

    Parameters
    ----------
    name, config
        Which it is.
    revision
        A commit.
    """
    builder = _library().load_dataset_builder(name, config, revision=revision)
    found: Mapping[str, Any] = builder.config.data_files or {}
    marks = f"datasets/{name}@{revision}/"
    return {str(split): tuple(str(file).partition(marks)[2] for file in files) for split, files in found.items()}


def _library() -> Any:
    """Return the module ``datasets``, which only those need who use the hub's data sets."""
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"package datasets is not installed; run: {install('hub')}") from error
    return datasets


@contextmanager
def _without_retries_told() -> Iterator[None]:
    """Keep the hub's client from writing a line for each retry: what comes of them is told in one line."""
    from huggingface_hub.utils.logging import get_verbosity, set_verbosity

    level = get_verbosity()
    set_verbosity(ERROR)
    try:
        yield
    finally:
        set_verbosity(level)


@contextmanager
def _without_bars(datasets: Any) -> Iterator[None]:
    """Keep ``datasets`` from drawing bars of its own."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _brief(error: Exception, path: Path | None = None) -> str:
    """Return an error in one short line, without the path that the message names already."""
    text = " ".join(str(error).split()) or type(error).__name__
    if path is not None:
        text = text.replace(f"{path}/", "").replace(str(path), "it")
    return text if len(text) <= 160 else f"{text[:157]}..."
