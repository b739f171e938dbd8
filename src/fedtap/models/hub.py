"""A model's folder to the Hugging Face hub and back, by ``huggingface_hub``'s own functions. Not here: what is in the folder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from fedtap.hub.faults import told
from fedtap.models.folder import BACKBONE, CARD, CONFIG, WEIGHTS
from fedtap.runtime.errors import UserError
from fedtap.runtime.folder_or_hub import is_hub_name
from fedtap.runtime.text import one_line

_FILES = [CONFIG, WEIGHTS, CARD, f"{BACKBONE}/**"]
"""What a model consists of: nothing else of a repository is fetched."""


def fetched_model(name: str, revision: str | None = None) -> Path:
    """Return the folder of a model of the hub, in the hub's own cache.

    Raises
    ------
    UserError
        If the name is none of the hub's, or the model cannot be fetched.
    """
    if not is_hub_name(name):
        raise UserError(f"{name}: no such folder, and no name on the hub (owner/name); check the path")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_FILES))
    except Exception as error:  # the hub's client raises a dozen kinds, and httpx's beside them
        why = str(told(error, "model", name, revision)).removeprefix(f"{name}: ")
        raise UserError(f"{name}: no such folder; taken for a name on the hub: {why}") from error


def push(name: str, save: Callable[[Path], object], *, private: bool, token: str | None) -> str:
    """Make a repository if there is none, commit what ``save`` writes into a folder, and return the repository's address.

    Raises
    ------
    UserError
        If the name is none of the hub's, or the hub cannot be reached, or refuses.
    """
    if not is_hub_name(name):
        raise UserError(f"{name}: no name on the hub; give owner/name")
    from huggingface_hub import HfApi

    with tempfile.TemporaryDirectory(prefix="fedtap-model-") as scratch:
        folder = Path(scratch) / "model"
        save(folder)
        api = HfApi(token=token)
        try:
            address = api.create_repo(name, private=private, exist_ok=True)
            api.upload_folder(repo_id=name, folder_path=folder, commit_message="Model trained with fedtap")
        except Exception as error:  # as above
            raise UserError(
                f"{name}: the hub did not take the model ({one_line(str(error), 200)}); log in with `hf auth login`, or give a "
                "token that may write"
            ) from error
    return str(address)
