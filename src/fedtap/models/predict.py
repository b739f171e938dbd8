"""``fedtap.predict``: ask one client's model of a finished run once. To ask a model often: :class:`fedtap.PersonalModel`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedtap.models.personal_model import PersonalModel


def predict(
    run: str | Path,
    *,
    client: str,
    task: str,
    image: str | Path | None = None,
    text: str | None = None,
    model: str | None = None,
) -> dict[str, Any]:
    """Return what a client's model answers.

    Parameters
    ----------
    run
        A finished run's folder.
    client, task
        Whose model, and which of its tasks.
    image, text
        The input; which of them is needed depends on the task's modality.
    model
        One of the client's saved models; by default the one that the run's method deploys.

    Returns
    -------
    dict
        ``task``, ``model`` (the one that answered) and ``output``: for classification ``{"label", "probabilities": {label: p}}``,
        for text generation the text, for reconstruction the picture, ``(64, 64, 3)`` uint8.

    Raises
    ------
    UserError
        If the run, client, model or task does not exist, or the input does not fit the task.
    """
    asked = PersonalModel.from_run(run, client, model)
    output = asked.predict(image=image, text=text, task=task)
    return {"task": task, "model": asked.answering(task), "output": output}
