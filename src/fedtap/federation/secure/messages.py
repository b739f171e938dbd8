"""What server and clients say to each other for secure aggregation: text of JSON, checked before anything is made of it."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import Field, StringConstraints, ValidationError

from fedtap.scenario.settings import Settings

MAX_TEXT = 64_000_000  # characters of one message
Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]*$", max_length=1_000)]
Name = Annotated[str, StringConstraints(max_length=200)]
Sealed = Annotated[str, StringConstraints(max_length=1_000_000)]
Words = TypeVar("Words", bound=Settings)


class Keys(Settings):
    """A client's public keys of a round: one for the masks, one for what it tells other clients."""

    masks: Hex
    letters: Hex


class Peers(Settings):
    """The server to a client: all of the round's clients with their keys, and the components that the client may mask."""

    keys: dict[Name, Keys]
    components: list[Name]


class Letters(Settings):
    """A client to the others, each letter sealed for its reader: its shares of the client's secrets."""

    sealed: dict[Name, Sealed]


class Shares(Settings):
    """What one of those letters says: a share of the client's private key for masks, and of its seed of each component."""

    key: Hex
    seeds: dict[Name, Hex]


class Masked(Settings):
    """The server to a client that is to train: its letters, by sender, and the holders of each component that is masked."""

    sealed: dict[Name, Sealed]
    holders: dict[Name, list[Name]]


class Survivors(Settings):
    """The server to a client, after training: whose answers count in each component's sum, and who did not answer at all."""

    components: dict[Name, list[Name]]
    lost: list[Name]


class Revealed(Settings):
    """A client's shares: of the seeds of those who answered, by client and component, and of the keys of those who did not."""

    seeds: dict[Name, dict[Name, Hex]] = Field(default_factory=dict)
    keys: dict[Name, Hex] = Field(default_factory=dict)


def read(text: str, kind: type[Words]) -> Words:
    """Return what a text says; raises ``ValueError`` with one line if it is not of its kind."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"{len(text)} characters on secure aggregation; {MAX_TEXT} at the most")
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(f"no sound {kind.__name__.lower()} for secure aggregation") from error
