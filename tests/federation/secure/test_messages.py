"""Words on secure aggregation: what is as agreed passes, whatever else stands there is refused, and so is what was not asked."""

import json
from typing import Any

import pytest

pytest.importorskip("Crypto")

from fedtap.federation.secure.masking import KeyPair, new_seed, seal, share
from fedtap.federation.secure.messages import Due, Keys, Letters, Masked, Peers, Revealed, Shares, Survivors, read

KEYS = {"masks": "0" * 64, "letters": "f" * 64}
SEED, KEY = "0" * 36, "0" * 68
SOUND: dict[type, Any] = {
    Keys: KEYS,
    Peers: {"keys": {"a": KEYS, "b": KEYS}, "components": ["shared", "head/x"]},
    Letters: {"sealed": {"b": "gAAAAA-_9=="}},
    Shares: {"key": KEY, "seeds": {"shared": SEED}},
    Masked: {"sealed": {"b": ""}, "holders": {"shared": ["a", "b"]}},
    Survivors: {"components": {"shared": ["a", "b"]}, "lost": ["c"]},
    Revealed: {"seeds": {"b": {"shared": SEED}}, "keys": {"c": KEY}},
}
BAD: dict[str, tuple[type, Any]] = {
    "a short key": (Keys, {**KEYS, "masks": "0" * 62}),
    "a long key": (Keys, {**KEYS, "masks": "0" * 66}),
    "a key in capitals": (Keys, {**KEYS, "masks": "F" * 64}),
    "a key of a number": (Keys, {**KEYS, "masks": 3}),
    "a key too few": (Keys, {"masks": "0" * 64}),
    "more than keys": (Keys, {**KEYS, "x": 1}),
    "a list": (Keys, [KEYS]),
    "nobody's letter": (Letters, {"sealed": {"": "AA=="}}),
    "a letter to an endless name": (Letters, {"sealed": {"n" * 201: "AA=="}}),
    "a letter to who clears the screen": (Letters, {"sealed": {"\x1b[2J": "AA=="}}),
    "a letter that was not sealed": (Letters, {"sealed": {"b": "two\nlines"}}),
    "an endless letter": (Letters, {"sealed": {"b": "A" * 2_000_001}}),
    "letters without end": (Letters, {"sealed": {f"c{i}": "" for i in range(100_001)}}),
    "a letter as a list": (Letters, {"sealed": {"b": ["AA=="]}}),
    "a short share": (Shares, {"key": KEY[:-2], "seeds": {}}),
    "a share of a seed as long as that of a key": (Shares, {"key": KEY, "seeds": {"shared": KEY}}),
    "components without end": (Shares, {"key": KEY, "seeds": {f"c{i}": SEED for i in range(10_001)}}),
    "a revealed seed that is none": (Revealed, {"seeds": {"b": {"shared": "zz"}}}),
    "a revealed key that is none": (Revealed, {"keys": {"b": SEED}}),
    "seeds that are a list": (Revealed, {"seeds": [["b", "shared", SEED]]}),
    "holders that are a text": (Masked, {"sealed": {}, "holders": {"shared": "ab"}}),
    "components as a mapping": (Peers, {"keys": {}, "components": {"shared": 1}}),
    "somebody lost without a name": (Survivors, {"components": {}, "lost": [None]}),
}


@pytest.mark.parametrize("kind", SOUND, ids=lambda kind: kind.__name__)
def test_what_was_agreed_on_is_read(kind: type) -> None:
    assert read(json.dumps(SOUND[kind]), kind).model_dump(mode="json") == SOUND[kind]


@pytest.mark.parametrize("what", BAD)
def test_what_was_not_agreed_on_is_refused_in_one_line(what: str) -> None:
    kind, value = BAD[what]
    with pytest.raises(ValueError, match=f"^no sound {kind.__name__.lower()} for secure aggregation$"):
        read(json.dumps(value), kind)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"masks":NaN}', "\ud800", None, 3, b"{}", ["x"]])
def test_what_is_no_text_of_json_is_refused_in_one_line(text: Any) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*on secure aggregation|for secure aggregation$"):
        read(text, Keys)


DUE = Due({"b": ["shared", "head/x"], "c": ["shared"]}, ["c"])
BEYOND: dict[str, Any] = {
    "a stranger's letter": Letters(sealed={"d": ""}),
    "a stranger's seed": Revealed(seeds={"d": {"shared": SEED}}),
    "a component that the client has not": Revealed(seeds={"c": {"head/x": SEED}}),
    "a component that there is not": Revealed(seeds={"b": {"head/y": SEED}}),
    "the key of one who answered": Revealed(keys={"b": KEY}),
    "a stranger's key": Revealed(keys={"d": KEY}),
}


@pytest.mark.parametrize("what", BEYOND)
def test_what_was_not_asked_is_refused(what: str) -> None:
    assert DUE.complaint(BEYOND[what]) is not None


def test_what_was_asked_passes_and_less_too() -> None:
    for said in (
        Letters(sealed={"b": "", "c": ""}),
        Letters(sealed={}),
        Revealed(seeds={"b": {"shared": SEED, "head/x": SEED}, "c": {"shared": SEED}}, keys={"c": KEY}),
        Revealed(),
    ):
        assert DUE.complaint(said) is None


@pytest.mark.parametrize("components", [0, 1, 400])
def test_honest_answers_are_within_the_length_that_follows_from_what_was_asked(components: int) -> None:
    names = [f"expert/mote/image/{number:060d}" for number in range(components)]
    people = [f"client-{number:056d}" for number in range(3)]
    of_key, of_seed = share(KeyPair.make().private, people), share(new_seed(), people)
    shares = Shares(key=of_key[people[0]].hex(), seeds={name: of_seed[people[0]].hex() for name in names})
    sealed = seal(KeyPair.make().secret_with(KeyPair.make().public), shares.model_dump_json())
    due = Due(dict.fromkeys(people, names), people)
    keys = Keys(masks=KeyPair.make().public.hex(), letters=KeyPair.make().public.hex())
    revealed = Revealed(seeds=dict.fromkeys(people, shares.seeds), keys=dict.fromkeys(people, shares.key))
    for said, asked in ((keys, Due()), (Letters(sealed=dict.fromkeys(people, sealed)), due), (revealed, due)):
        text = said.model_dump_json()
        assert read(text, type(said), asked.length) == said
        with pytest.raises(ValueError, match=f"{asked.length} characters at the most"):
            read(text + " " * asked.length, type(said), asked.length)
    assert due.length < 4 * len(Letters(sealed=dict.fromkeys(people, sealed)).model_dump_json()) + 4_000
