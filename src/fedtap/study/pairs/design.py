r"""The design of the study of pairs: which federations there are, how long each trains, and which tasks it has.

K pairs, three clients a pair, two clients a round; every client has one pair. The same pairs are served at every K, by as many
federations of K pairs as it takes, so that a mean over pairs compares like with like. Three things vary:

- ``trunk``: *shared* by all pairs, or *private*, a copy a pair (K federations under one lottery of clients);
- ``kind``: the pairs are *unlike* (a task each), or *alike* (one task under K names, each with a head of its own);
- ``length``: ``T1`` rounds whatever K; ``T1/pi``, which gives a pair's components the updates that they have at K = 1; ``T1K``,
  which gives each client the turns that it has there.

Not here: what is trained (scenarios.py, synthetic.py), and what the losses say together (effects.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fedtap.runtime.errors import UserError, nearest
from fedtap.theory.sampling import sampling

HOLDERS, DRAWN = 3, 2
"""Clients a pair, and clients a round."""
KINDS = ("unlike", "alike")
TRUNKS = ("shared", "private")
LENGTHS = ("T1", "T1/pi", "T1K")
SYNTHETIC = "synthetic"
PROBLEMS = (SYNTHETIC, "plain", "experts")
"""Tanh teachers, and real tasks with either network of the product."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a study is.

    ``rounds`` is T1, ``steps`` are a round's; ``train``, ``validation`` and ``test`` examples a client; ``towers`` the frozen
    towers of images and of text; ``most`` the pairs that the synthetic problem serves.
    """

    rounds: int
    steps: int
    batch: int
    train: int
    validation: int
    test: int
    towers: tuple[str, str]
    synthetic_rounds: int
    synthetic_steps: int
    most: int


FULL = Size(30, 5, 16, 240, 32, 64, ("efficientnet-lite0", "minilm-l6"), 100, 10, 16)
QUICK = Size(3, 2, 4, 8, 4, 4, ("untrained-tiny", "untrained-tiny"), 6, 2, 4)
"""For tests and dry runs: it shows that everything works, and nothing else."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of training: K pairs of a kind, with a trunk, for a length."""

    kind: str
    pairs: int
    trunk: str
    length: str

    @property
    def key(self) -> str:
        """What it is called, in files too."""
        return f"{self.kind}-K{self.pairs}-{self.trunk}-{self.length.replace('/', '-')}"


def coverage(pairs: int) -> float:
    """Return pi of a pair's own components: the share of rounds that train them.

    >>> [round(coverage(pairs), 3) for pairs in (1, 2, 4, 8, 16)]
    [1.0, 0.8, 0.455, 0.239, 0.122]
    """
    return sampling(HOLDERS * pairs, HOLDERS, DRAWN).pi


def rounds_of(length: str, pairs: int, first: int) -> int:
    """Return how many rounds a length has where ``T1`` has ``first``.

    >>> [rounds_of(length, 8, 30) for length in LENGTHS]
    [30, 125, 240]
    """
    return {"T1": first, "T1/pi": round(first / coverage(pairs)), "T1K": first * pairs}[length]


def arms(kinds: Sequence[str], pairs: Sequence[int], lengths: Sequence[str]) -> Iterator[Arm]:
    """Iterate over the arms. With one pair there is one: it has no other to share with, and all lengths are T1."""
    for kind in kinds:
        for number in pairs:
            for length in lengths if number > 1 else ["T1"]:
                for trunk in TRUNKS if number > 1 else ["shared"]:
                    yield Arm(kind, number, trunk, length)


def checked(name: str, given: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return what was asked for, each once and in the order of what is known; raises UserError for what is not."""
    for each in given:
        if each not in known:
            raise UserError(f"{name} {each}: unknown; {nearest(each, known)}")
    if not given:
        raise UserError(f"{name}: give one at least of {', '.join(known)}")
    return tuple(each for each in known if each in given)


def checked_pairs(given: Sequence[int]) -> tuple[int, ...]:
    """Return the numbers of pairs, rising; 1 must be among them, since all effects are against it."""
    numbers = sorted(set(given))
    if (
        not numbers
        or numbers[0] != 1
        or len(numbers) < 2
        or any(number & (number - 1) or number > 16 for number in numbers)
    ):
        raise UserError("--pairs: give 1 and more of 2, 4, 8 and 16, for example --pairs 1,4,16")
    return tuple(numbers)
