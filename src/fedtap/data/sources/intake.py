"""What befalls while a source's data are read: examples that cannot be read, remarks, progress. Not the reading (sources)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from fedtap.data.example import Example, ImageRef
from fedtap.runtime.errors import UserError

T = TypeVar("T")
Progress = Callable[[int, int], None]
KEPT = 100  # lines that are kept of a source; of the rest the first of its kind, as many kinds at the most, all else is counted
_ROW = re.compile(r"(.+?):(\d+): (.+)", re.DOTALL)
_STEP = 64  # pictures between two words on the progress


class DataError(UserError):
    """All that is wrong with the data, together; the message is the first fault, and how many more there are.

    Parameters
    ----------
    faults
        A line for each, with the place and the mend.
    number
        How many there are, if more than are listed.
    """

    def __init__(self, faults: Sequence[str], number: int = 0) -> None:
        self.faults = tuple(faults)
        self.number = max(number, len(self.faults))
        more = self.number - 1
        rest = f" (and {more} more fault{'' if more == 1 else 's'}: `fedtap scenario check` lists them)" if more else ""
        super().__init__(f"{self.faults[0]}{rest}")


def row_of(fault: str) -> tuple[str, str, str]:
    """Return the file, the line and the words of a fault in a row of a table; of any other its words alone, as the file.

    >>> row_of("a.csv:2: empty"), row_of("no file")
    (('a.csv', '2', 'empty'), ('no file', '', ''))
    """
    found = _ROW.fullmatch(fault)
    return (found[1], found[2], found[3]) if found else (fault, "", "")


class Intake:
    """What is found out while one source is read. Faults are collected, so that they can be told together.

    Parameters
    ----------
    skip
        Whether an example that cannot be read is left out, counted and named (``on_unreadable: skip``); otherwise it is a fault.
    progress
        Called with (done, total) while pictures are looked at.
    """

    def __init__(self, *, skip: bool = False, progress: Progress | None = None) -> None:
        self.skip = skip
        self.faults: list[str] = []
        self.skipped: list[str] = []
        self.remarks: list[str] = []
        self.number_of_faults = 0
        self.number_skipped = 0
        self._kinds: set[tuple[str, str]] = set()
        self._progress = progress

    def unreadable(self, error: UserError) -> None:
        """Take note of an example that cannot be read."""
        if not self.skip:
            self.fault(error)
            return
        self.number_skipped += 1
        if len(self.skipped) < KEPT:
            self.skipped.append(str(error))

    def fault(self, error: UserError) -> None:
        """Take note of what is wrong in any case; behind many rows in which the same is wrong something else is kept too."""
        self.number_of_faults += 1
        file, _, what = row_of(str(error))
        is_new = (file, what) not in self._kinds and len(self._kinds) < KEPT
        if len(self.faults) < KEPT or is_new:
            self.faults.append(str(error))
            self._kinds.add((file, what))

    def remark(self, line: str) -> None:
        """Take note of what the owner of the data should know, and what is no fault."""
        self.remarks.append(line)

    def watch(self, items: Sequence[T]) -> Iterator[T]:
        """Iterate over pictures to be looked at, and tell the progress."""
        for done, item in enumerate(items):
            if self._progress is not None and done % _STEP == 0:
                self._progress(done, len(items))
            yield item
        if self._progress is not None:
            self._progress(len(items), len(items))

    def refuse(self) -> None:
        """Raise a :class:`DataError` with the faults, if there are any."""
        if self.faults:
            raise DataError(self.faults, self.number_of_faults)


def remark_on_pictures(examples: Iterable[Example], intake: Intake, place: str, share: float) -> None:
    """Remark on a source whose pictures, all together, use no more than a share of the range of their values."""
    images: dict[str, ImageRef] = {example.image.digest: example.image for example in examples if example.image}
    extents = [image.extent for image in images.values() if image.extent is not None]
    if not extents:
        return
    low, high = min(low for low, _ in extents), max(high for _, high in extents)
    if high - low <= share:
        intake.remark(
            f"{place}: its {len(extents)} pictures use {100 * (high - low):.1f} % of the range of their values, and look all "
            "alike to a model; give 'range: [lowest, highest]' or 'window: {center: ..., width: ...}'"
        )


def remark_on_repetitions(read: int, kept: int, intake: Intake, place: str) -> None:
    """Remark on examples that are there more than once, however they are saved, and count once."""
    if read > kept:
        intake.remark(
            f"{place}: {read - kept} of {read} examples are there more than once, by content; each counts once"
        )
