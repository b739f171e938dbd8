"""A client's part of secure aggregation: keys, shares of its secrets for the others, masks, and what it reveals in the end.

Each step may come to a process of its own, so what must be remembered within a round lies in the client's store, and is
forgotten with the round. A client looks after itself: it masks nothing with fewer holders than was agreed on, reveals nothing of
a sum of fewer, and never both secrets of anybody.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import BaseModel

from fedtap.algorithms.base import Update
from fedtap.components import ComponentKey, ComponentState
from fedtap.federation.messages import Reply, Request
from fedtap.federation.secure.masking import KeyPair, Whole, coded, new_seed, own_mask, pair_mask, seal, share, unseal
from fedtap.federation.secure.messages import Keys, Letters, Masked, Peers, Revealed, Shares, Survivors, read
from fedtap.federation.store import ClientStore
from fedtap.federation.words import Strict
from fedtap.scenario.safety import SecureSettings


class Kept(Strict):
    """What a client remembers within a round; numbers are in hexadecimal digits."""

    masks: str
    letters: str
    peers: Peers | None = None
    seeds: Mapping[str, str] = {}
    own: Shares | None = None
    trained: Masked | None = None


class SecureClient:
    """Answers what is asked for secure aggregation, and masks what was trained.

    Parameters
    ----------
    store
        The client's own.
    settings
        What was agreed on.
    """

    def __init__(self, store: ClientStore, settings: SecureSettings) -> None:
        self._store = store
        self._settings = settings

    def answer(self, request: Request) -> Reply:
        """Answer a request of one of the kinds ``messages.SECRETS``; raises ``ValueError`` on what was not agreed."""
        if request.kind == "keys":
            words: BaseModel = self._keys(request)
        elif request.kind == "shares":
            words = self._letters(request)
        else:
            words = self._revealed(request)
        nothing = Update(ComponentState(), {})
        return Reply(request.client, request.round, nothing, 0.0, 0, words.model_dump_json())

    def mask(self, request: Request, update: Update, received: ComponentState) -> Update:
        """Return an update as it is sent: masked where there are enough holders, and else as it is or not at all."""
        asked = read(request.secure, Masked) if request.secure else Masked(sealed={}, holders={})
        holders = {ComponentKey.parse(name): who for name, who in asked.holders.items() if request.client in who}
        if asked.holders:
            kept = self._kept(request)
            self._check_holders(request.client, kept, asked)
            update = self._masked(request, update, received, kept, holders)
            self._keep(request, kept.model_copy(update={"trained": asked}))
        wanted = set(holders) if self._settings.few == "withhold" else set(update.components)
        sent = update.components.select(lambda key, _: key in wanted)
        return Update(
            sent,
            {key: count for key, count in update.counts.items() if key in sent},
            update.losses,
            update.personal_losses,
            update.decisions,
            update.vectors,
        )

    def _keys(self, request: Request) -> Keys:
        masks, letters = KeyPair.make(), KeyPair.make()
        self._keep(request, Kept(masks=masks.private.hex(), letters=letters.private.hex()))
        return _public(masks, letters)

    def _letters(self, request: Request) -> Letters:
        kept, peers = self._kept(request), read(request.secure, Peers)
        me, letters = request.client, KeyPair.of(bytes.fromhex(kept.letters))
        masks = KeyPair.of(bytes.fromhex(kept.masks))
        if peers.keys.get(me) != _public(masks, letters):
            raise ValueError("the server tells the others other keys than this client's")
        if len({keys.masks for keys in peers.keys.values()}) != len(peers.keys):
            raise ValueError("two clients of the round have one key")
        everybody = sorted(peers.keys)
        seeds = {name: new_seed() for name in sorted(peers.components)}
        of_key = share(masks.private, everybody)
        of_seeds = {name: share(seed, everybody) for name, seed in seeds.items()}
        told = {
            other: Shares(key=of_key[other].hex(), seeds={name: of_seeds[name][other].hex() for name in seeds})
            for other in everybody
        }
        self._keep(
            request,
            kept.model_copy(
                update={"peers": peers, "seeds": {name: seed.hex() for name, seed in seeds.items()}, "own": told[me]}
            ),
        )
        return Letters(
            sealed={
                other: seal(letters.secret_with(bytes.fromhex(peers.keys[other].letters)), shares.model_dump_json())
                for other, shares in told.items()
                if other != me
            }
        )

    def _check_holders(self, me: str, kept: Kept, asked: Masked) -> None:
        if kept.peers is None or kept.trained is not None:
            raise ValueError("asked to train out of turn in secure aggregation")
        known = {me, *asked.sealed} & kept.peers.keys.keys()
        for name, who in asked.holders.items():
            if me in who and name not in kept.seeds:
                raise ValueError(f"asked to mask component '{name}', of which nothing was agreed on")
            if len(set(who)) != len(who) or not known.issuperset(who):
                raise ValueError(f"the holders of component '{name}' are not those of this round")
            if len(who) < self._settings.holders:
                raise ValueError(
                    f"component '{name}' has {len(who)} holders, and {self._settings.holders} were agreed on"
                )

    def _masked(
        self,
        request: Request,
        update: Update,
        received: ComponentState,
        kept: Kept,
        holders: Mapping[ComponentKey, list[str]],
    ) -> Update:
        assert kept.peers is not None
        me, keys = request.client, KeyPair.of(bytes.fromhex(kept.masks))
        others = sorted({other for who in holders.values() for other in who} - {me})
        secrets = {other: keys.secret_with(bytes.fromhex(kept.peers.keys[other].masks)) for other in others}
        masked: dict[ComponentKey, Whole] = {}
        counts = dict(update.counts)
        for key, who in holders.items():
            # What was not trained has not changed, and nobody is to see that from what is sent.
            named = update.components.get(key, received[key])
            counts.setdefault(key, 0)
            total = {
                name: coded(tensor - received[key][name], self._settings.bound, counts[key])
                for name, tensor in named.items()
            }
            own_mask(total, bytes.fromhex(kept.seeds[str(key)]), key, request.round)
            for other in who:
                if other != me:
                    pair_mask(total, me, other, secrets[other], key, request.round)
            masked[key] = total
        merged = update.components.merge(ComponentState(masked))
        return Update(merged, counts, update.losses, update.personal_losses, update.decisions, update.vectors)

    def _revealed(self, request: Request) -> Revealed:
        kept, asked = self._kept(request), read(request.secure, Survivors)
        if kept.peers is None or kept.own is None or kept.trained is None:
            raise ValueError("asked to reveal out of turn in secure aggregation")
        answered = {client for who in asked.components.values() for client in who}
        if answered & set(asked.lost):
            raise ValueError("asked to reveal both secrets of a client")
        for name, who in asked.components.items():
            if not set(kept.trained.holders.get(name, ())).issuperset(who) or len(set(who)) < self._settings.holders:
                raise ValueError(f"asked to reveal component '{name}' of fewer clients than were agreed on")
        shares = {request.client: kept.own}
        letters = KeyPair.of(bytes.fromhex(kept.letters))
        for other in sorted(answered | set(asked.lost)):
            if other != request.client and other in kept.trained.sealed and other in kept.peers.keys:
                secret = letters.secret_with(bytes.fromhex(kept.peers.keys[other].letters))
                shares[other] = read(unseal(secret, kept.trained.sealed[other]), Shares)
        seeds: dict[str, dict[str, str]] = {}
        for name, who in asked.components.items():
            for client in who:
                if client in shares and name in shares[client].seeds:
                    seeds.setdefault(client, {})[name] = shares[client].seeds[name]
        keys = {client: shares[client].key for client in asked.lost if client in shares}
        self._store.forget_secret(request.client, request.round)  # once: another question would be about another sum
        return Revealed(seeds=seeds, keys=keys)

    def _kept(self, request: Request) -> Kept:
        text = self._store.secret(request.client, request.round)
        if text is None:
            raise ValueError(f"no secrets of round {request.round} are held here; the round must begin anew")
        return read(text, Kept)

    def _keep(self, request: Request, kept: Kept) -> None:
        self._store.keep_secret(request.client, request.round, kept.model_dump_json())


def _public(masks: KeyPair, letters: KeyPair) -> Keys:
    return Keys(masks=masks.public.hex(), letters=letters.public.hex())


def holds_whole(named: Mapping[str, torch.Tensor], shapes: Mapping[str, torch.Tensor]) -> bool:
    """Tell whether a component has the form that a masked one must have: the tensors of these shapes, as int64."""
    return named.keys() == shapes.keys() and all(
        isinstance(tensor, torch.Tensor)
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and tensor.dtype == torch.int64
        and tensor.shape == shapes[name].shape
        for name, tensor in named.items()
    )
