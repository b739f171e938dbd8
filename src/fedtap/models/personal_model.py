"""``fedtap.PersonalModel``: a client's model to ask, to keep in a folder of its own, and to share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from fedtap.experiment.site import resolve_device
from fedtap.models import hub
from fedtap.models.answers import LoadedModel
from fedtap.models.card import card_of_run
from fedtap.models.folder import CONFIG, read_folder, write_folder
from fedtap.models.given import Example, Inputs, Picture, examples_of, inputs_of
from fedtap.models.saved_model import ModelTask, SavedModel, read_model
from fedtap.runtime.errors import UserError, nearest
from fedtap.runtime.home import expanded

if TYPE_CHECKING:
    from fedtap.backbones.origins import Role

Backbone: TypeAlias = "str | Path | Mapping[Role, str | Path]"
"""Where frozen weights lie that have moved: a folder, one with a folder for each tower in it, or a folder for each."""


class Prediction(NamedTuple):
    """An example as it was given, and what the model answers."""

    example: Example
    output: Any


class PersonalModel:
    """A client's model, in memory once and asked as often as one likes. Made by :meth:`from_pretrained` or :meth:`from_run`.

    Examples
    --------
    .. code-block:: python

        model = fedtap.PersonalModel.from_pretrained("clinic")
        model.predict(text="fever since Monday")  # {"label": "urgent", "probabilities": {...}}
        for example, output in model.predict_many("scans/", task="cells"):
            print(example.image, output["label"])
    """

    def __init__(self, saved: SavedModel, card: Callable[[], str], *, device: str = "cpu", exact: bool = True) -> None:
        self._make_card = card
        self._tasks = {task.name: task for task in saved.tasks}
        self.loaded = LoadedModel(saved, resolve_device(device), exact=exact)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        backbone: Backbone | None = None,
        revision: str | None = None,
        device: str = "cpu",
        exact: bool = True,
    ) -> PersonalModel:
        """Return the model in a folder that :meth:`save_pretrained` or ``fedtap export`` wrote, or of the hub.

        Parameters
        ----------
        name
            The folder, or ``owner/name`` on the hub.
        backbone
            Where the frozen weights lie, if elsewhere than when the model was trained and not on the hub: their folder, a folder
            with ``vision`` and ``text`` in it, or ``{"vision": FOLDER, "text": FOLDER}``.
        revision
            Of the hub; by default the newest.
        device
            ``cpu``, ``cuda``, any torch device, or ``auto``.
        exact
            Off: an example that is asked alone goes through the frozen encoders alone, several times as fast. By default it is
            filled up to the batch in which they encoded what was trained on, so that it is seen to the last bit as it was there.

        Raises
        ------
        UserError
            If there is no such model, it is damaged, or the frozen weights are missing or others.
        """
        place = expanded(name)
        root = None
        if not place.is_dir():
            place = hub.fetched_model(str(name), revision)
            root = (
                place.parent.parent
            )  # in the hub's cache a snapshot's files are links to what lies beside the snapshots
        elif revision is not None:
            raise UserError(f"{place}: is a folder, and 'revision' is for the hub; leave it out")
        elif not (place / CONFIG).exists() and (place / "run.json").exists():
            raise UserError(f"{place}: is a run, of several models; use PersonalModel.from_run(run, client)")
        folders = {role: expanded(each) for role, each in backbone.items()} if isinstance(backbone, Mapping) else None
        given = expanded(backbone) if isinstance(backbone, str | Path) else folders
        saved, card = read_folder(place, given, root=root)
        return cls(saved, lambda: card, device=device, exact=exact)

    @classmethod
    def from_run(
        cls, run: str | Path, client: str, model: str | None = None, *, device: str = "cpu", exact: bool = True
    ) -> PersonalModel:
        """Return a client's model of a finished run; ``model`` names one, by default the one that the run's method deploys.

        ``device`` and ``exact`` are those of :meth:`from_pretrained`.

        Raises
        ------
        UserError
            If there is no such run, client or model, or it is damaged.
        """
        place = expanded(run)
        saved = read_model(place, client, model)
        return cls(saved, partial(card_of_run, place, saved), device=device, exact=exact)

    def __repr__(self) -> str:
        return f"PersonalModel({self.name!r} of client {self.client!r}; tasks: {', '.join(self._tasks)})"

    @property
    def name(self) -> str:
        """What the method calls the model: ``personal``, ``finetuned``, ..."""
        return self.loaded.saved.name

    def answering(self, task: str) -> str:
        """Return the name of the model that answers a task: this one's, unless it is a choice among several."""
        return self.loaded.saved.of_task(task).name

    @property
    def client(self) -> str:
        """Whose model it is."""
        return self.loaded.saved.client

    @property
    def tasks(self) -> Mapping[str, ModelTask]:
        """What the model can be asked, by name: type, modality, and the classes of a classification."""
        return dict(self._tasks)

    @cached_property
    def card(self) -> str:
        """The model card, in Markdown: where the model comes from, its scores, its limits."""
        return self._make_card()

    def predict(self, *, image: Picture | None = None, text: str | None = None, task: str | None = None) -> Any:
        """Return the answer to one example.

        Parameters
        ----------
        image
            A file, the bytes of one, an image of Pillow, or an array ``(H, W, 3)`` uint8; where the task takes one.
        text
            Where the task takes one.
        task
            Which of the model's tasks; needed where it has several.

        Returns
        -------
        dict, float, str or numpy.ndarray
            Classification: ``{"label": ..., "probabilities": {label: p}}``; with several labels ``{"labels": [...],
            "probabilities": {label: p}}``, those above one half. Regression: the number, in the unit of
            the training data. Text generation: the text. Reconstruction: the picture,
            ``(64, 64, 3)`` uint8.

        Raises
        ------
        UserError
            If the model has no such task, or the input does not fit it or cannot be read.
        """
        asked = self.task(task)
        (answer,) = self.loaded.answers(asked, [inputs_of(asked, Example(image, text))])
        return answer

    def predict_many(self, examples: Any, *, task: str | None = None, batch_size: int = 32) -> Iterator[Prediction]:
        """Iterate over predictions of many examples, in their order; no more than a batch of them is in memory.

        Parameters
        ----------
        examples
            An iterable, or a data frame of pandas, of ``{"image": ..., "text": ...}``, parts named so or as the tables that the
            model was trained on named them; a part alone will do where the task takes no more. Or a folder of pictures, read in
            the order of their names.
        task
            As for :meth:`predict`.
        batch_size
            How many run through the network at once.

        Raises
        ------
        UserError
            As :meth:`predict`; the line says which example.
        """
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size}: give 1 or more")
        asked = self.task(task)
        return self._predicted(asked, examples_of(asked, examples), batch_size)

    def _predicted(self, task: ModelTask, examples: Iterator[Example], size: int) -> Iterator[Prediction]:
        number = 0
        while batch := list(islice(examples, size)):
            inputs = [inputs_of(task, example, f"example {number + at}") for at, example in enumerate(batch)]
            number += len(batch)
            yield from map(Prediction, batch, self.loaded.answers(task, inputs))

    def answers(self, inputs: Iterable[Inputs], *, task: str | None = None) -> list[Any]:
        """Return the answers to decoded inputs, as one batch; for those who read tables or requests themselves."""
        return self.loaded.answers(self.task(task), list(inputs))

    def task(self, name: str | None) -> ModelTask:
        """Return one of the model's tasks; without a name the only one there is.

        Raises
        ------
        UserError
            If there is no such task, or several and no name.
        """
        if name is None and len(self._tasks) == 1:
            return next(iter(self._tasks.values()))
        if name is None:
            raise UserError(f"the model has several tasks; say which (--task): {', '.join(self._tasks)}")
        if name not in self._tasks:
            raise UserError(f"--task {name}: client '{self.client}' has no such task; {nearest(name, self._tasks)}")
        return self._tasks[name]

    def save_pretrained(self, folder: str | Path, *, with_backbone: bool = False) -> Path:
        """Write the model into a folder of its own, and return it; it needs neither the run nor the data.

        Parameters
        ----------
        folder
            A new one, or an empty one.
        with_backbone
            Carry the frozen weights along, and not only their names and digests.

        Raises
        ------
        UserError
            If the folder is not empty, or the frozen weights cannot be carried.
        """
        place = expanded(folder)
        write_folder(place, self.loaded.saved, self.card, self.preprocessing, with_backbone=with_backbone)
        return place

    def push_to_hub(
        self, name: str, *, private: bool = True, token: str | None = None, with_backbone: bool = False
    ) -> str:
        """Write the model to the hub and return its address; ``token`` is the hub's, by default the one you logged in with.

        A personal model may reveal something of the data that it was trained on: a new repository is private unless told
        otherwise.

        Raises
        ------
        UserError
            If the hub cannot be reached, or refuses.
        """
        return hub.push(
            name,
            lambda folder: self.save_pretrained(folder, with_backbone=with_backbone),
            private=private,
            token=token,
        )

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """What becomes of pictures and texts before the network sees them, by the parts that the tasks take."""
        backbone = self.loaded.backbone
        parts = {part for task in self._tasks.values() for part in task.pair.parts}
        found = {"image": backbone.vision.preprocessing, "text": backbone.text.preprocessing}
        return {part: dict(facts) for part, facts in found.items() if part in parts}
