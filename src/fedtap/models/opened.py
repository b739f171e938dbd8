"""The model that a user names: a folder, a name on the hub, or a run and a client of it."""

from __future__ import annotations

from pathlib import Path

from fedtap.models.folder import CONFIG
from fedtap.models.personal_model import Backbone, PersonalModel
from fedtap.runtime.errors import UserError
from fedtap.runtime.home import expanded


def open_model(
    place: str | Path,
    *,
    client: str | None = None,
    model: str | None = None,
    backbone: Backbone | None = None,
    device: str = "cpu",
    exact: bool = True,
) -> PersonalModel:
    """Return the model at a place; a run needs ``client``, and may have several models of it.

    ``device`` and ``exact`` are those of :meth:`~fedtap.PersonalModel.from_pretrained`.

    Raises
    ------
    UserError
        If there is no such model, ``client`` or ``model`` is given for a folder of one model, or ``backbone`` for a run.
    """
    folder = expanded(place)
    if not is_run(place):
        if not folder.exists() and (client is not None or model is not None):
            raise UserError(f"{place}: there is no such folder; give that of a run")
        if client is not None or model is not None:
            key = "--client" if client is not None else "--model"
            raise UserError(f"{place}: is one model, and {key} is for a run; leave it out")
        return PersonalModel.from_pretrained(str(place), backbone=backbone, device=device, exact=exact)
    if client is None:
        clients = clients_of(place)
        known = f"; say whose (--client): {', '.join(clients[:20])}" if clients else ", and has saved none"
        raise UserError(f"{place}: is a run, with a model for each client{known}")
    if backbone is not None:
        raise UserError(f"{place}: is a run, which knows its frozen weights; leave out --backbone")
    return PersonalModel.from_run(folder, client, model, device=device, exact=exact)


def is_run(place: str | Path) -> bool:
    """Tell whether a place is a run's folder, or one that is neither a run nor a model, and is told of as a run."""
    folder = expanded(place)
    return (folder / "run.json").exists() or (folder.is_dir() and not (folder / CONFIG).exists())


def clients_of(run: str | Path) -> list[str]:
    """Return the clients of which a run has saved a model."""
    return sorted(path.name for path in (expanded(run) / "clients").glob("*") if path.is_dir())
