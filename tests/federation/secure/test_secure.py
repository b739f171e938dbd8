"""Secure aggregation: what comes out is the mean, whoever is lost; what the server gets before is noise; a client is careful."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("Crypto")

from builders import ToyArchitecture, sound_reply
from fedtap.algorithms.base import Algorithm, Update
from fedtap.components import ComponentKey, ComponentState
from fedtap.federation.messages import Reply, Request
from fedtap.federation.secure import masking
from fedtap.federation.secure.client import SecureClient
from fedtap.federation.secure.masking import KeyPair
from fedtap.federation.secure.messages import Keys, Masked, Peers, Survivors
from fedtap.federation.store import ClientStore
from fedtap.scenario.safety import DefenceSettings, PrivacySettings, Safety, SecureSettings, WireSettings
from secure_homes import CARD, PEOPLE, Spoil, close, note, one_round, serving, silent


@settings(deadline=None, max_examples=30)
@given(
    names=st.lists(st.text("abcxyz", min_size=1, max_size=3), min_size=2, max_size=5, unique=True),
    weights=st.lists(st.integers(1, 1000), min_size=5, max_size=5),
    seed=st.integers(0, 999),
)
def test_masks_cancel_in_the_sum_and_the_mean_is_right(names: list[str], weights: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    changes = {name: torch.rand(3, 2, generator=generator) * 2 - 1 for name in names}
    pairs = {name: KeyPair.make() for name in names}
    key, total = ComponentKey("shared"), {"w": torch.zeros(3, 2, dtype=torch.int64)}
    seeds = {name: masking.new_seed() for name in names}
    for name, weight in zip(names, weights, strict=False):
        mine = {"w": masking.coded(changes[name], 1.0, weight)}
        masking.own_mask(mine, seeds[name], key, 4)
        for other in names:
            if other != name:
                masking.pair_mask(mine, name, other, pairs[name].secret_with(pairs[other].public), key, 4)
        masking.add(total, mine)
    for name in names:
        masking.own_mask(total, seeds[name], key, 4, sign=-1)
    used = weights[: len(names)]
    mean = masking.decoded(total["w"], 1.0, sum(used))
    assert mean is not None
    expected = sum(w * changes[n].double() for n, w in zip(names, used, strict=True)) / sum(used)
    assert torch.allclose(mean, expected, atol=1.0 / masking.LEVELS)


def test_a_key_stream_follows_from_secret_and_label_and_is_that_of_chacha20() -> None:
    import hashlib
    import hmac

    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

    shapes = {"b": torch.Size([3]), "a": torch.Size([2, 2])}
    found = masking.stream(b"s", "label", shapes)
    key = hmac.new(b"s", b"label", hashlib.sha256).digest()
    raw = Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor().update(bytes(56))
    words = [int.from_bytes(raw[place : place + 8], "little", signed=True) for place in range(0, 56, 8)]
    assert found["a"].flatten().tolist() + found["b"].tolist() == words  # names in order
    for other in (masking.stream(b"t", "label", shapes), masking.stream(b"s", "other", shapes)):
        assert not torch.equal(other["a"], found["a"])


@pytest.mark.parametrize("number", [2, 3, 5, 8])
def test_a_secret_is_restored_by_enough_shares_and_not_by_fewer(number: int) -> None:
    secret, names = masking.new_seed(), [f"c{place}" for place in range(number)]
    shares = masking.share(secret, names)
    needed = masking.threshold(number)
    assert masking.restore([shares[name] for name in names[-needed:]], number) == secret
    with pytest.raises(ValueError, match="are needed"):
        masking.restore([shares[name] for name in names[: needed - 1]], number)
    with pytest.raises(ValueError, match="belong together"):
        masking.restore([shares[names[0]]] * needed, number)


def test_a_sealed_letter_is_for_its_reader_alone() -> None:
    a, b, c = (KeyPair.make() for _ in range(3))
    sealed = masking.seal(a.secret_with(b.public), "words")
    assert masking.unseal(b.secret_with(a.public), sealed) == "words"
    for secret, text in (
        (c.secret_with(a.public), sealed),
        (b.secret_with(a.public), sealed[:-4] + "AAA="),
        (b.secret_with(a.public), "?"),
    ):
        with pytest.raises(ValueError, match="not meant for this client"):
            masking.unseal(secret, text)
    assert KeyPair.of(a.private) == a


def test_a_round_gives_what_it_gives_without_masks(tmp_path: Path) -> None:
    masked, events, _ = one_round(tmp_path / "a")
    plain, _, _ = one_round(tmp_path / "b", None)
    assert close(masked.components, plain.components)
    assert not masked.components.equal(serving(None).components)
    told = note(events)
    assert told["summed"] == len(masked.components)
    assert (told["lost"], told["not_restored"], told["too_few_holders"]) == ([], 0, 0)
    assert told["bytes_up"] > 0 < told["bytes_down"]
    assert len([event for event in events if event["event"] == "update"]) == len(PEOPLE)


def test_what_the_server_gets_says_nothing_of_a_single_change(tmp_path: Path) -> None:
    """Every value is uniform in the ring: its bits are even coins, and two clients with one change send other values."""
    _, _, homes = one_round(tmp_path)
    values = [tensor.flatten() for reply in homes.sent for _, _, tensor in reply.update.components.tensors()]
    whole = torch.cat(values)
    assert whole.dtype == torch.int64
    ones = torch.stack([(whole >> place) & 1 for place in range(64)]).double().mean(dim=1)
    assert float((ones - 0.5).abs().max()) < 6 * 0.5 / len(whole) ** 0.5
    assert len(whole.unique()) == len(whole)


LOST = {
    "before the keys": silent({"a1", "b2"}, "keys"),
    "before the letters": silent({"a1", "b2"}, "shares"),
    "in training": silent({"a1", "b2"}, "train"),
    "after training": silent({"a1", "b2"}, "unmask"),
    "one by one": lambda request, reply: (
        None
        if (request.client, request.kind) in {("a1", "keys"), ("b1", "shares"), ("a2", "train"), ("d3", "unmask")}
        else reply
    ),
}


@pytest.mark.parametrize("when", LOST)
def test_whoever_is_lost_the_mean_is_that_of_those_who_answered(when: str, tmp_path: Path) -> None:
    secure = SecureSettings(holders=2)
    masked, events, homes = one_round(tmp_path / "a", secure, LOST[when])
    answered = {event["client"] for event in events if event["event"] == "update"}
    plain, _, _ = one_round(tmp_path / "b", None, silent(set(CARD) - answered, "train"))
    assert close(masked.components, plain.components)
    told = note(events)
    assert set(told["clients"]) == answered
    assert told["summed"] > 0
    assert told["not_restored"] == 0
    assert homes.updates.keys() >= answered


def test_too_few_answers_restore_nothing_and_the_model_stays(tmp_path: Path) -> None:
    before = serving(None).components
    quiet = silent(set(list(CARD)[:7]), "unmask")  # five of twelve answer, seven are needed
    federation, events, _ = one_round(tmp_path, SecureSettings(), quiet)
    assert federation.components.equal(before)
    assert note(events)["summed"] == 0
    assert note(events)["not_restored"] == len(before)


def test_a_component_that_lost_its_holders_keeps_its_masks_and_the_others_are_summed(tmp_path: Path) -> None:
    """Two of the three that alone hold some components are lost: those stay as they were."""
    federation, events, _ = one_round(tmp_path, SecureSettings(), silent({"c1", "c2"}, "train"))
    before, architecture = serving(None).components, ToyArchitecture()
    only = {key for key in before if sum(key in architecture.plan(card.pairs) for card in PEOPLE) == 3}
    only &= architecture.plan(CARD["c1"].pairs)
    assert only
    for key in before:
        same = all(torch.equal(before[key][name], federation.components[key][name]) for name in before[key])
        assert same == (key in only), key
    assert note(events)["not_restored"] == len(only)


@pytest.mark.parametrize("few", ["send", "withhold"])
def test_components_with_few_holders_are_sent_or_stay(few: Any, tmp_path: Path) -> None:
    asked = ["a1", "a2", "a3", "c1"]
    federation, events, homes = one_round(tmp_path / "a", SecureSettings(few=few), clients=asked)
    plain, _, _ = one_round(tmp_path / "b", None, clients=asked)
    architecture, before = ToyArchitecture(), serving(None).components
    alone = {key for key in before if sum(key in architecture.plan(CARD[client].pairs) for client in asked) in (1, 2)}
    assert alone
    expected = plain.components
    if few == "withhold":
        expected = expected.merge(before.slice(alone))
    assert close(federation.components, expected)
    assert note(events)["too_few_holders"] == len(alone)
    trained = [reply for reply in homes.sent if reply.client == "c1" and reply.update.components]
    for reply in trained:
        for key, _, tensor in reply.update.components.tensors():
            assert (tensor.dtype != torch.int64) == (key in alone)
    if few == "withhold":
        assert all(not alone & set(reply.update.components) for reply in trained)


def test_with_too_few_clients_nothing_is_masked(tmp_path: Path) -> None:
    federation, events, _ = one_round(tmp_path / "a", clients=["a1", "a2"])
    plain, _, _ = one_round(tmp_path / "b", None, clients=["a1", "a2"])
    assert federation.components.equal(plain.components)
    assert note(events)["summed"] == 0
    held, _, homes = one_round(tmp_path / "c", SecureSettings(few="withhold"), clients=["a1", "a2"])
    assert held.components.equal(serving(None).components)
    assert all(not reply.update.components for reply in homes.sent)


def test_a_change_beyond_the_bound_is_clipped_to_it(tmp_path: Path) -> None:
    secure = SecureSettings(bound=0.01)
    federation, _, _ = one_round(tmp_path, secure)
    moved = federation.components.zip(torch.sub, serving(None).components)
    largest = max(float(gap.abs().max()) for _, _, gap in moved.tensors())
    assert 0.009 < largest <= 0.01 + 1e-6


def changed(request: Request, reply: Reply, **fields: Any) -> Reply:
    return replace(reply, update=replace(reply.update, **fields))


def first_key(reply: Reply) -> ComponentKey:
    return next(iter(reply.update.components))


HOSTILE: dict[str, Spoil] = {
    "no words": lambda request, reply: replace(reply, secure="") if request.kind == "keys" else reply,
    "no JSON": lambda request, reply: replace(reply, secure="{") if request.kind == "shares" else reply,
    "too much": lambda request, reply: (
        replace(reply, secure='{"masks":"","letters":"","x":1}') if request.kind == "keys" else reply
    ),
    "a key that is none": lambda request, reply: (
        replace(reply, secure='{"masks":"x","letters":"y"}') if request.kind == "keys" else reply
    ),
    "floats for whole numbers": lambda request, reply: (
        changed(request, reply, components=reply.update.components.map(lambda tensor: tensor.float()))
        if request.kind == "train"
        else reply
    ),
    "another shape": lambda request, reply: (
        changed(request, reply, components=reply.update.components.map(lambda tensor: tensor.flatten()[:1]))
        if request.kind == "train"
        else reply
    ),
    "a component missing": lambda request, reply: (
        changed(
            request,
            reply,
            components=reply.update.components.select(lambda key, _: key != first_key(reply)),
            counts={key: n for key, n in reply.update.counts.items() if key != first_key(reply)},
        )
        if request.kind == "train"
        else reply
    ),
    "a count too large": lambda request, reply: (
        changed(request, reply, counts=dict.fromkeys(reply.update.counts, 10**9)) if request.kind == "train" else reply
    ),
    "a negative count": lambda request, reply: (
        changed(request, reply, counts=dict.fromkeys(reply.update.counts, -1)) if request.kind == "train" else reply
    ),
    "another round's answer": lambda request, reply: replace(reply, round=7) if request.kind == "unmask" else reply,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_client_that_does_not_keep_to_it_is_left_out_and_the_others_are_right(what: str, tmp_path: Path) -> None:
    def spoil(request: Request, reply: Reply) -> Reply:
        told = HOSTILE[what](request, reply) if request.client == "b1" else reply
        assert told is not None
        return told

    secure = SecureSettings(holders=2)
    federation, events, _ = one_round(tmp_path / "a", secure, spoil)
    (refused,) = [event for event in events if event["event"] == "rejected"]
    assert refused["client"] == "b1"
    assert "\n" not in refused["why"]
    answered = {event["client"] for event in events if event["event"] == "update"}
    plain, _, _ = one_round(tmp_path / "b", None, silent(set(CARD) - answered, "train"))
    assert close(federation.components, plain.components)
    assert ("b1" in answered) == (what == "another round's answer")


def test_masks_that_are_wrong_spoil_no_component(tmp_path: Path) -> None:
    """What is no sum of codes is far beyond the bound, but for one chance in millions a value; the component stays."""

    def spoil(request: Request, reply: Reply) -> Reply:
        if request.kind != "train" or request.client != "b1":
            return reply
        garbage = reply.update.components.map(lambda tensor: tensor + torch.randint_like(tensor, -(2**62), 2**62))
        return changed(request, reply, components=garbage)

    federation, events, homes = one_round(tmp_path / "a", SecureSettings(), spoil)
    plain, _, _ = one_round(tmp_path / "b", None)
    spoiled = set(homes.updates["b1"].components)
    before = serving(None).components
    expected = plain.components.merge(before.slice(spoiled & set(before)))
    assert close(federation.components, expected)
    assert note(events)["not_restored"] == len(spoiled)


class AtHome:
    """One client's part, step by step, among three."""

    def __init__(self, folder: Path, **secure: Any) -> None:
        self.settings = SecureSettings(**secure)
        self.sites = {name: SecureClient(ClientStore(folder / name), self.settings) for name in "xyz"}
        self.key = ComponentKey("shared")
        self.keys = {name: Keys.model_validate_json(self.ask(name, "keys").secure) for name in "xyz"}
        self.peers = Peers(keys=self.keys, components=[str(self.key)])
        self.start = ComponentState({self.key: {"w": torch.zeros(2)}})

    def ask(self, name: str, kind: Any, words: Any = None, round_number: int = 1) -> Reply:
        text = "" if words is None else words.model_dump_json()
        return self.sites[name].answer(Request(name, round_number, kind, ComponentState(), text))

    def letters(self) -> dict[str, dict[str, str]]:
        said = {name: json.loads(self.ask(name, "shares", self.peers).secure)["sealed"] for name in "xyz"}
        return {name: {other: said[other][name] for other in "xyz" if other != name} for name in "xyz"}

    def train(self, name: str, sealed: dict[str, str], holders: dict[str, list[str]]) -> Update:
        request = Request(name, 1, "train", self.start, Masked(sealed=sealed, holders=holders).model_dump_json())
        update = Update(self.start.map(lambda tensor: tensor + 0.5), {self.key: 1})
        return self.sites[name].mask(request, update, self.start)


def test_a_client_masks_nothing_that_was_not_agreed_on(tmp_path: Path) -> None:
    home = AtHome(tmp_path)
    sealed = home.letters()["x"]
    for holders, why in (
        ({"shared": ["x", "y"]}, "has 2 holders, and 3 were agreed on"),
        ({"shared": ["x", "y", "y"]}, "not those of this round"),
        ({"shared": ["x", "y", "stranger"]}, "not those of this round"),
        ({"head/other": ["x", "y", "z"]}, "of which nothing was agreed on"),
    ):
        with pytest.raises(ValueError, match=why):
            home.train("x", sealed, holders)
    with pytest.raises(ValueError, match="not those of this round"):
        home.train("x", {"y": sealed["y"]}, {"shared": ["x", "y", "z"]})  # z sent no letter
    home.train("x", sealed, {"shared": ["x", "y", "z"]})
    with pytest.raises(ValueError, match="out of turn"):
        home.train("x", sealed, {"shared": ["x", "y", "z"]})


def test_a_client_reveals_once_and_never_both_secrets_nor_a_sum_of_few(tmp_path: Path) -> None:
    home = AtHome(tmp_path)
    letters = home.letters()
    for name in "xyz":
        home.train(name, letters[name], {"shared": ["x", "y", "z"]})
    for words, why in (
        (Survivors(components={"shared": ["x", "y", "z"]}, lost=["y"]), "both secrets"),
        (Survivors(components={"shared": ["x", "y"]}, lost=[]), "of fewer clients"),
        (Survivors(components={"shared": ["x", "y", "y"]}, lost=[]), "of fewer clients"),
        (Survivors(components={"head/other": ["x", "y", "z"]}, lost=[]), "of fewer clients"),
    ):
        with pytest.raises(ValueError, match=why):
            home.ask("x", "unmask", words)
    whole = Survivors(components={"shared": ["x", "y", "z"]}, lost=[])
    said = json.loads(home.ask("x", "unmask", whole).secure)
    assert set(said["seeds"]) == {"x", "y", "z"}
    assert said["keys"] == {}
    with pytest.raises(ValueError, match="must begin anew"):
        home.ask("x", "unmask", whole)


def test_a_client_notices_other_keys_in_place_of_its_own(tmp_path: Path) -> None:
    home = AtHome(tmp_path)
    swapped = Peers(keys={**home.keys, "x": home.keys["y"]}, components=["shared"])
    with pytest.raises(ValueError, match="other keys than this client's"):
        home.ask("x", "shares", swapped)
    doubled = Peers(keys={**home.keys, "z": home.keys["y"]}, components=["shared"])
    with pytest.raises(ValueError, match="have one key"):
        home.ask("x", "shares", doubled)


def test_secrets_are_the_clients_alone_and_are_forgotten_with_the_round(tmp_path: Path) -> None:
    home = AtHome(tmp_path)
    files = list((tmp_path / "x").rglob("secret-*.json"))
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600]
    home.ask("x", "keys", round_number=2)
    assert [path.name for path in (tmp_path / "x").rglob("secret-*.json")] == ["secret-0002.json"]
    with pytest.raises(ValueError, match="no secrets of round 1"):
        home.ask("x", "shares", home.peers)


@pytest.mark.parametrize(
    ("settings_", "what"),
    [
        ({"defence": DefenceSettings(norm_bound=1.0)}, "the section defence"),
        ({"wire": WireSettings(precision="int8")}, "wire.precision"),
        ({"privacy": PrivacySettings(secure=SecureSettings(), central={})}, "privacy.central"),  # type: ignore[arg-type]
    ],
)
def test_what_needs_single_updates_does_not_go_together_with_it(settings_: dict[str, Any], what: str) -> None:
    given_ = {"privacy": PrivacySettings(secure=SecureSettings()), **settings_}
    clash = Safety(**given_).clash()
    assert clash is not None
    assert what in clash


def test_methods_that_need_single_updates_are_refused() -> None:
    from fedtap.algorithms.registry import make
    from fedtap.experiment.requirements import check_privacy
    from fedtap.runtime.errors import UserError
    from tiny import DIGITS, scenario_of

    scenario = scenario_of({"one": (DIGITS,)}, privacy={"secure": {}})
    for name in ("tap", "fedavg", "ditto"):
        check_privacy(scenario, make({}, name))
    for name in ("fedhca2", "colora", "pfedme"):
        assert make({}, name).aggregate.__func__ is not Algorithm.aggregate  # type: ignore[attr-defined]
        with pytest.raises(UserError, match="needs single updates at the server"):
            check_privacy(scenario, make({}, name))
    with pytest.raises(UserError, match="set lora_mean=factors"):
        check_privacy(scenario, make({"name": "tap", "lora_mean": "product"}))


@pytest.mark.parametrize("mask", ["own", "pair"])
def test_each_component_and_round_has_a_mask_stream_of_its_own(mask: str) -> None:
    """One stream under two components would cancel in the difference of what a client sends for them."""

    def drawn(key: ComponentKey, round_number: int) -> torch.Tensor:
        total = {"w": torch.zeros(4, dtype=torch.int64)}
        if mask == "own":
            masking.own_mask(total, b"s" * 16, key, round_number)
        else:
            masking.pair_mask(total, "a", "b", b"s" * 32, key, round_number)
        return total["w"]

    shared, head = ComponentKey("shared"), ComponentKey("head", ("x",))
    assert drawn(shared, 1).equal(drawn(shared, 1))
    for other in (drawn(head, 1), drawn(ComponentKey("head", ("y",)), 1), drawn(shared, 2)):
        assert not (drawn(shared, 1) == other).any()


def test_a_restored_key_that_is_not_the_lost_clients_takes_no_mask_away(tmp_path: Path) -> None:
    def spoil(request: Request, reply: Reply) -> Reply | None:
        if request.client == "a1" and request.kind == "train":
            return None
        if request.client != "a2" or request.kind != "unmask":
            return reply
        said = json.loads(reply.secure)
        number, body = said["keys"]["a1"][:4], said["keys"]["a1"][4:]
        said["keys"]["a1"] = number + f"{int(body, 16) ^ 1:0{len(body)}x}"
        return replace(reply, secure=json.dumps(said))

    federation, events, _ = one_round(tmp_path, SecureSettings(), spoil)
    assert note(events)["lost"] == ["a1"]
    assert note(events)["summed"] == 0
    assert federation.components.equal(serving(None).components)


def test_the_server_refuses_what_was_to_be_withheld(tmp_path: Path) -> None:
    asked = ["a1", "a2", "a3", "c1"]

    def spoil(request: Request, reply: Reply) -> Reply:
        if request.kind != "train" or request.client != "c1":
            return reply
        honest = sound_reply(request, CARD["c1"]).update
        open_ones = honest.components.select(lambda key, _: key not in reply.update.components)
        assert open_ones
        counts = {**honest.counts, **reply.update.counts}
        return changed(request, reply, components=reply.update.components.merge(open_ones), counts=counts)

    federation, events, homes = one_round(tmp_path, SecureSettings(few="withhold"), spoil, clients=asked)
    (refused,) = [event for event in events if event["event"] == "rejected"]
    assert (refused["client"], refused["why"]) == ("c1", "components came that were to stay at the client")
    before = serving(None).components
    withheld = set(before) - {key for reply in homes.sent for key in reply.update.components}
    assert withheld
    assert federation.components.slice(withheld).equal(before.slice(withheld))
