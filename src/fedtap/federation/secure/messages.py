"""What server and clients say to each other for secure aggregation: JSON, parsed into strict models before any use."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, ValidationError

from fedtap.federation.words import MAX_ENTRIES, Strict
from fedtap.scenario.settings import MANY

MAX_TEXT = 64_000_000  # characters of one message
MAX_NAME = 200  # characters of a component's or client's
KEY, SHARE_OF_KEY, SHARE_OF_SEED = (
    64,
    68,
    36,
)  # hexadecimal digits: two blocks; a number and two blocks; a number and one
_WORDS = 100  # characters of JSON around an entry, beside what stands in it


def _plain(text: str) -> str:
    if not text.isprintable():
        raise ValueError("not printable")
    return text


def _hex(digits: int) -> StringConstraints:
    return StringConstraints(pattern=r"^[0-9a-f]*$", min_length=digits, max_length=digits)


PublicKey = Annotated[str, _hex(KEY)]
KeyShare = Annotated[str, _hex(SHARE_OF_KEY)]
SeedShare = Annotated[str, _hex(SHARE_OF_SEED)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME), AfterValidator(_plain)]
Sealed = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_=-]*$", max_length=2_000_000)]
MuchOfAll = Field(max_length=MANY)
"""Of what there is an entry for a client."""
MuchOfOne = Field(max_length=MAX_ENTRIES)
"""Of what there is an entry for a component."""
Clients = Annotated[list[Name], MuchOfAll]


Words = TypeVar("Words", bound=BaseModel)


class Keys(Strict):
    """A client's public keys of a round: one for the masks, one for what it tells other clients."""

    masks: PublicKey
    letters: PublicKey


class Peers(Strict):
    """The server to a client: all of the round's clients with their keys, and the components that the client may mask."""

    keys: Annotated[dict[Name, Keys], MuchOfAll]
    components: Annotated[list[Name], MuchOfOne]


class Letters(Strict):
    """A client to the others, each letter sealed for its reader: its shares of the client's secrets."""

    sealed: Annotated[dict[Name, Sealed], MuchOfAll]


class Shares(Strict):
    """What one of those letters says: a share of the client's private key for masks, and of its seed of each component."""

    key: KeyShare
    seeds: Annotated[dict[Name, SeedShare], MuchOfOne]


class Masked(Strict):
    """The server to a client that is to train: its letters, by sender, and the holders of each component that is masked."""

    sealed: Annotated[dict[Name, Sealed], MuchOfAll]
    holders: Annotated[dict[Name, Clients], MuchOfOne]


class Survivors(Strict):
    """The server to a client, after training: whose answers count in each component's sum, and who did not answer at all."""

    components: Annotated[dict[Name, Clients], MuchOfOne]
    lost: Clients


class Revealed(Strict):
    """A client's shares: of the seeds of those who answered, by client and component, and of the keys of those who did not."""

    seeds: Annotated[dict[Name, Annotated[dict[Name, SeedShare], MuchOfOne]], MuchOfAll] = Field(default_factory=dict)
    keys: Annotated[dict[Name, KeyShare], MuchOfAll] = Field(default_factory=dict)


def read(text: str, kind: type[Words], most: int = MAX_TEXT) -> Words:
    """Return what a text says; raises ``ValueError`` with one line if it is not of its kind, or longer than ``most``."""
    if not isinstance(text, str) or len(text) > most:
        length = f"{len(text)} characters" if isinstance(text, str) else f"a {type(text).__name__}"
        raise ValueError(f"{length} on secure aggregation; {most} characters at the most")
    try:
        return kind.model_validate_json(text)
    except (ValidationError, ValueError, RecursionError) as error:
        raise ValueError(f"no sound {kind.__name__.lower()} for secure aggregation") from error


@dataclass(frozen=True, slots=True)
class Due:
    """What may stand in a client's answer, by what it was asked: of whom, and of which components of theirs.

    Parameters
    ----------
    clients
        Of whom it may speak: by name the components of which it may; to whom it may write letters, of these components.
    lost
        Whose keys it may reveal.
    """

    clients: Mapping[str, Sequence[str]] = field(default_factory=dict)
    lost: Sequence[str] = ()

    @property
    def length(self) -> int:
        """The most characters of the answer: a sealed letter has 4/3 of what it holds, and that is in JSON."""
        names = [*self.clients, *self.lost]
        inner = sum(len(name) + _WORDS + SHARE_OF_KEY for each in self.clients.values() for name in each)
        return 3 * KEY + _WORDS + 2 * (inner + sum(3 * _WORDS + len(name) for name in names))

    def complaint(self, said: BaseModel) -> str | None:
        """Return why an answer goes beyond what was asked, or None."""
        if isinstance(said, Letters):
            told: dict[str, Collection[str]] = dict.fromkeys(said.sealed, ())
        elif isinstance(said, Revealed):
            told = dict(said.seeds)
            if not set(self.lost).issuperset(said.keys):
                return "reveals the key of a client that is not lost"
        else:
            return None
        for name, components in told.items():
            if name not in self.clients or not set(self.clients[name]).issuperset(components):
                return f"speaks of '{name}', of whom or of whose components it was not asked"
        return None
