"""The application: which models there are, and their answers. Not here: the server (server.py), and what is let in (gate.py)."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response

from fedtap import __version__
from fedtap.models.personal_model import PersonalModel
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.text import one_line
from fedtap.serving.asked import Answered, Asked, Health, Model, Task, answered, decoded
from fedtap.serving.gate import LOOPBACK, Gate, Limits
from fedtap.serving.page import PAGE, SCRIPT

TOLD = 5  # faults of a request that are told


def application(
    models: Mapping[str, PersonalModel],
    *,
    limits: Limits | None = None,
    key: str | None = None,
    hosts: frozenset[str] | None = LOOPBACK,
) -> Gate:
    """Return the ASGI application that answers with these models, by name; else as :class:`~fedtap.serving.gate.Gate`."""
    bounds = limits or Limits()
    app = FastAPI(
        title="fedtap",
        version=__version__,
        summary="Personal models of a federation.",
        docs_url=None,  # its page would be fetched from elsewhere
        redoc_url=None,
    )
    one_at_a_time = threading.Lock()  # a model uses all cores that it is given

    @app.get("/health", summary="Whether the server answers")
    def health() -> Health:
        return Health(status="ok", models=len(models))

    @app.get("/models", summary="Which models there are, and their tasks")
    def listed() -> list[Model]:
        return [_about(name, model) for name, model in models.items()]

    @app.post("/models/{name}/predict", summary="The answers of a model to some examples")
    def predict(name: str, asked: Asked) -> Answered:
        if name not in models:
            raise HTTPException(404, one_line(f"no model '{name}' here; {nearest(name, models)}", 300))
        model = models[name]
        task = model.task(asked.task)
        inputs = decoded(task, asked.examples, bounds)
        with one_at_a_time:
            outputs = model.answers(inputs, task=task.name)
        return Answered(model=name, task=task.name, answers=[answered(output) for output in outputs])

    @app.get("/", include_in_schema=False)
    def page() -> HTMLResponse:
        return HTMLResponse(PAGE)

    @app.get("/page.js", include_in_schema=False)
    def script() -> Response:
        return Response(SCRIPT, media_type="text/javascript")

    @app.exception_handler(UserError)
    def unfit(request: Request, error: UserError) -> JSONResponse:
        return JSONResponse({"detail": one_line(str(error), 600)}, status_code=422)

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        """Tell where and what, and nothing of what was sent: it may be of any size, and no JSON."""
        faults = [f"{'.'.join(str(part) for part in each['loc'][1:])}: {each['msg']}" for each in error.errors()[:TOLD]]
        return JSONResponse({"detail": one_line("; ".join(faults), 600)}, status_code=422)

    return Gate(app, bounds, key=key, hosts=hosts)


def _about(name: str, model: PersonalModel) -> Model:
    tasks = [
        Task(name=task.name, type=task.type, modality=task.modality, classes=list(task.classes))
        for task in model.tasks.values()
    ]
    return Model(name=name, client=model.client, tasks=tasks)
