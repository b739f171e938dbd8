"""Getting a data set of the Hugging Face hub: from a local folder of the same schema, or from the hub. Not what its rows mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging import ERROR
from pathlib import Path
from typing import Any

from fedtap.runtime.errors import UserError
from fedtap.runtime.installing import install
from fedtap.runtime.storage import raise_full

Splits = Mapping[str, Any]
"""Data sets (``datasets.Dataset``) by the name of their split."""

_WAY_OUT = "save it where it can be had with DatasetDict.save_to_disk, and give that folder as the task's 'path'"


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
    """Return the splits of a data set of the hub, from the cache of the library ``datasets`` where they lie there already.

    Raises
    ------
    UserError
        If it cannot be had: no connection, no such name, no permission; ``place`` names the task in the message.
    RunError
        If the disk is full.
    """
    datasets = _library()
    whole = name if config is None else f"{name} ({config})"
    try:
        with _without_retries_told():
            found: Splits = datasets.load_dataset(name, config)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        if isinstance(error, OSError):
            raise_full(error, Path(datasets.config.HF_DATASETS_CACHE))
        raise UserError(
            f"{place}: {whole} cannot be had from the hub: no connection, or a name or permission that it does not know "
            f"({_brief(error)}); connect this machine, or {_WAY_OUT}"
        ) from error
    return found


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


def _brief(error: Exception, path: Path | None = None) -> str:
    """Return an error in one short line, without the path that the message names already."""
    text = " ".join(str(error).split()) or type(error).__name__
    if path is not None:
        text = text.replace(f"{path}/", "").replace(str(path), "it")
    return text if len(text) <= 160 else f"{text[:157]}..."
