"""What a client's models answered to its own test examples, as far as that may be shown; heard while they are tested.

Not here: which examples are shown (outcomes), and in what form (outcomes, reporting).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from fedtap.pairs import Pair

Wanted: TypeAlias = Mapping[str, "Sequence[int] | None"]
"""Of each task the places of the examples that are shown, or None where that is known only once all are scored."""
NOTHING: Wanted = MappingProxyType({})


class Answers:
    """Keeps the answers of one client's models: of a task those that are wanted, of one that is not named none.

    What is kept of an answer is small where all of them are kept: of a classifier the likeliest class and its share, of what is
    written the text. Pictures, numbers and shares of many labels are kept where it is known which of them are shown.
    """

    def __init__(self, wanted: Wanted = NOTHING) -> None:
        self._wanted = {task: None if places is None else frozenset(places) for task, places in wanted.items()}
        self._kept: dict[tuple[str, str], dict[int, Any]] = {}

    def hear(self, model: str, pair: Pair, first: int, answers: Any) -> None:
        """Take what a model answered to the examples of a task from place ``first`` on."""
        if pair.task not in self._wanted:
            return
        places = self._wanted[pair.task]
        rows = [row for row in range(len(answers)) if places is None or first + row in places]
        kept = self._kept.setdefault((model, pair.task), {})
        if pair.type == "classification":
            best = answers.argmax(dim=-1)
            shares = answers.gather(1, best[:, None])[:, 0].tolist()
            named = list(zip(best.tolist(), shares, strict=True))
            kept.update((first + row, named[row]) for row in rows)
        elif pair.type == "text_generation":
            kept.update((first + row, answers[row]) for row in rows)
        else:  # a copy: a view would keep all of its batch
            kept.update((first + row, answers[row].detach().cpu().clone()) for row in rows)

    def to(self, model: str, task: str, place: int) -> Any:
        """Return what a model answered to an example.

        It is (class, share) of a classifier, a text of what writes, and else a tensor as ``TaskType.answers`` gives it.
        """
        return self._kept[model, task][place]
