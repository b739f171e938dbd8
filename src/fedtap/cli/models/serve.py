"""``fedtap serve``: models behind HTTP, for programs and for a page to try them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedtap.cli.options import BackboneFolder
from fedtap.cli.screen import examples, note, say
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.installing import install

if TYPE_CHECKING:
    from fedtap.models.personal_model import PersonalModel

EXAMPLES = examples(
    "fedtap serve models/clinic models/lab",
    "fedtap serve runs/quickstart --client c1 --client c4",
    "fedtap serve triage=models/clinic --host 0.0.0.0 --key-file key.txt",
)


def serve(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="Folders of `fedtap export`, owner/name on the hub, or a run; or NAME=MODEL."
        ),
    ],
    client: Annotated[
        list[str] | None,
        typer.Option(
            "--client", "-c", metavar="ID", help="Of a run: this client's model, once or more; by default all."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Where to listen; by default only this machine can ask.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65_535, help="Where to listen; 0: any that is free.")
    ] = 8000,
    key_file: Annotated[
        Path | None,
        typer.Option("--key-file", metavar="FILE", help="Holds the key that callers need; or set FEDTAP_KEY."),
    ] = None,
    backbone: BackboneFolder = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact/--no-exact",
            help="Encode a single example as in training, or alone: faster, the same but for the rounding of features.",
        ),
    ] = True,
) -> None:
    """Answer over HTTP with one or more models, and show a page on which to try them.

    POST /models/NAME/predict takes JSON; /openapi.json says all of it, /health whether the server is up. Only this machine is let
    in, unless --host says otherwise; a key is needed then. End it with Ctrl-C.
    """
    missing = next((name for name in ("fastapi", "uvicorn") if importlib.util.find_spec(name) is None), None)
    if missing is not None:
        raise UserError(f"the package '{missing}' is not installed; {install('serve')}")
    from fedtap.serving.server import prepared, read_key

    models: dict[str, PersonalModel] = {}
    for place in places:
        for name, model in _opened(place, client, backbone, exact):
            if name in models:
                raise UserError(f"two models are called '{name}'; give one another name: NAME={place}")
            models[name] = model
    server, listening = prepared(models, host=host, port=port, key=read_key(key_file))
    shown, taken = listening.getsockname()[:2]
    say(f"Serving {', '.join(models)}: http://{f'[{shown}]' if ':' in shown else shown}:{taken}/")
    with listening:
        server.run(sockets=[listening])
    note("stopped")


def _opened(
    place: str, clients: list[str] | None, backbone: Path | None, exact: bool
) -> list[tuple[str, PersonalModel]]:
    from fedtap.models.opened import clients_of, is_run, open_model

    name, is_named, rest = place.partition("=")
    where = rest if is_named else place
    if not is_run(where):
        model = open_model(where, backbone=backbone, exact=exact)
        return [(name if is_named else model.client, model)]
    known = clients_of(where)
    unknown = next((each for each in clients or () if each not in known), None)
    if unknown is not None:
        raise UserError(f"--client {unknown}: {where} has no model of this client; {nearest(unknown, known)}")
    chosen = clients or known
    if is_named and len(chosen) > 1:
        raise UserError(f"{place}: one name for {len(chosen)} models; give one --client with it, or no name")
    return [(name if is_named else each, open_model(where, client=each, exact=exact)) for each in chosen]
