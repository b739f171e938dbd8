"""MLflow: a run of an experiment, on the server of MLFLOW_TRACKING_URI or in mlflow.db beside the runs' folders.

The client of its lowest level is used: the others note the user, the file and the commit of whoever calls them.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from itertools import islice
from typing import Any

from fedtap.reporting.tracking.base import About, Ending

AT_ONCE = 100
"""Parameters of one request; the server takes no more, of metrics ten times as many."""
CALM = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""Where the user has not said otherwise: nothing is told to its makers, and a server that is gone is given up soon."""
NO_ARTIFACTS = "mlflow-artifacts:/fedtap"
"""Where artifacts would be, of which there are none; by itself it would note a place of this machine."""
_STATUS: Mapping[Ending, str] = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class MLflow:
    """A run in MLflow."""

    def __init__(self, about: About, id: str | None) -> None:
        for name, value in CALM.items():
            os.environ.setdefault(name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own parts, to its own makers
            from mlflow import MlflowClient
            from mlflow.entities import Metric, Param

            for name in ("mlflow", "alembic"):
                logging.getLogger(name).setLevel(logging.WARNING)  # the terminal is the run's
            self._client = MlflowClient(tracking_uri=_place(about))
            self._metric = Metric
            if id is not None:
                self._id = str(self._client.get_run(id).info.run_id)
                self._client.set_terminated(self._id, "RUNNING")
                return
            run = self._client.create_run(self._experiment(about.project), run_name=about.name)
            self._id = str(run.info.run_id)
            left = iter(about.parameters.items())
            while part := [Param(name, value) for name, value in islice(left, AT_ONCE)]:
                self._client.log_batch(self._id, params=part)

    @property
    def id(self) -> str:
        """What MLflow calls the run."""
        return self._id

    def log(self, step: int, values: Mapping[str, float], *, at: float) -> None:
        """Send the values of a round."""
        left = iter(values.items())
        while part := [self._metric(name, value, int(1000 * at), step) for name, value in islice(left, 10 * AT_ONCE)]:
            self._client.log_batch(self._id, metrics=part)

    def end(self, how: Ending) -> None:
        """Say how the run ended."""
        self._client.set_terminated(self._id, _STATUS[how])

    def _experiment(self, name: str) -> Any:
        found = self._client.get_experiment_by_name(name)
        return self._client.create_experiment(name, NO_ARTIFACTS) if found is None else found.experiment_id


def start(about: About, id: str | None) -> MLflow:
    """Begin a run, or take up one."""
    return MLflow(about, id)


def _place(about: About) -> str:
    """Return where MLflow keeps the run: offline, or without a server, in a file beside the runs' folders."""
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    if server and not (about.offline and server.startswith(("http:", "https:", "databricks"))):
        return server
    return f"sqlite:///{(about.folder.resolve().parent / 'mlflow.db').as_posix()}"
