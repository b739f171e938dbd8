r"""The arithmetic of secure aggregation: changes as whole numbers, masks that cancel in the sum, secrets that others can restore.

Bonawitz et al. 2017, CCS, eprint 2017/281; masked component by component, since holders of components differ. Client i with
:math:`n_i` examples and change :math:`\Delta_i` of a component c sends, in the ring of 64-bit integers,

.. math::
    y_{i,c} = n_i \, q(\Delta_{i,c}) + G(b_{i,c}) + \sum_{j > i} G(s_{ij}, c) - \sum_{j < i} G(s_{ij}, c)

over the other holders j of c, where :math:`q(x) = \mathrm{round}(x L / C)` with :math:`L = 2^{23} - 1` clips to ±C, G is the key
stream of ChaCha20, :math:`s_{ij}` the secret that i and j agree on by Diffie-Hellman, and :math:`b_{i,c}` a secret of i alone. In
the sum over all holders the pairwise masks cancel. Of those who answered, the others restore :math:`b_{i,c}`; of those who did
not, the key from which :math:`s_{ij}` follows; never both of one client.

Key agreement (X25519), sealing and key streams are those of ``cryptography``, Shamir's sharing is that of PyCryptodome, on which
Flower's SecAgg+ stands too (extra ``secure``). Not here: who says what to whom (secure, secure_site).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from fedtap.components import ComponentKey
from fedtap.runtime.errors import UserError
from fedtap.runtime.installing import install

LEVELS = 2**23 - 1
"""A change of the size of the bound, as a whole number: as fine as float32 is."""
MOST_EXAMPLES = 2**38
"""Of all holders of a component together; beyond it the sum could leave the ring."""
BLOCK = 16
"""Bytes that Shamir's sharing takes at a time; a seed is one block, a private key two."""
_INDEX = 2  # bytes, before the blocks of a share
_STREAM_NONCE = bytes(16)  # each stream has a key of its own

Whole = dict[str, Tensor]
"""A component's tensors as int64."""


def require_crypto() -> None:
    """Refuse to go on without the packages of the extra ``secure``.

    Raises
    ------
    UserError
        If one is not installed.
    """
    for module, package in (("cryptography", "cryptography"), ("Crypto", "pycryptodome")):
        if find_spec(module) is None:
            raise UserError(f"privacy.secure: the package {package} is not installed; run: {install('secure')}")


def threshold(clients: int) -> int:
    """Return how many of a round's clients must answer to restore a secret: more than half of them.

    >>> [threshold(n) for n in (2, 3, 4, 5)]
    [2, 2, 3, 3]
    """
    return clients // 2 + 1


def coded(change: Tensor, bound: float, weight: int) -> Tensor:
    """Return a change, clipped to ±bound, as whole numbers times the examples behind it.

    >>> coded(torch.tensor([0.0, 1.0, -9.0]), bound=1.0, weight=2).tolist()
    [0, 16777214, -16777214]
    """
    codes = (change.detach().cpu().double() / bound).clamp(-1.0, 1.0).mul(LEVELS).round()
    return codes.to(torch.int64) * weight


def decoded(total: Tensor, bound: float, weight: int) -> Tensor | None:
    """Return the mean change of a sum of codes, in float64; None if it is no sum of such codes, for a mask was wrong."""
    mean = total.double() / (weight * LEVELS) * bound
    return mean if bool((mean.abs() <= bound * (1 + 1e-12)).all()) else None


def stream(secret: bytes, label: str, shapes: Mapping[str, torch.Size]) -> Whole:
    """Return the mask of a component: uniform whole numbers that follow from a secret and a label alone."""
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

    key = hmac.new(secret, label.encode(), hashlib.sha256).digest()
    encryptor = Cipher(ChaCha20(key, _STREAM_NONCE), mode=None).encryptor()
    found: Whole = {}
    for name in sorted(shapes):
        size = shapes[name].numel()
        drawn = np.frombuffer(encryptor.update(bytes(8 * size)), dtype="<i8").astype(np.int64)
        found[name] = torch.from_numpy(drawn).reshape(shapes[name])
    return found


def add(total: Whole, more: Whole, sign: int = 1) -> None:
    """Add to a sum in the ring, in place."""
    for name, tensor in more.items():
        total[name].add_(tensor, alpha=sign)  # whole numbers of torch wrap around


def pair_mask(
    total: Whole, mine: str, other: str, secret: bytes, key: ComponentKey, round_number: int, sign: int = 1
) -> None:
    """Add to a client's sum the mask that it shares with another holder; the other's has the opposite sign."""
    shapes = {name: tensor.shape for name, tensor in total.items()}
    add(total, stream(secret, _label(key, round_number), shapes), sign if mine < other else -sign)


def own_mask(total: Whole, seed: bytes, key: ComponentKey, round_number: int, sign: int = 1) -> None:
    """Add to a sum the mask that a client shares with nobody, or with ``sign=-1`` take it away."""
    shapes = {name: tensor.shape for name, tensor in total.items()}
    add(total, stream(seed, _label(key, round_number), shapes), sign)


def _label(key: ComponentKey, round_number: int) -> str:
    return f"fedtap/{round_number}/{key}"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A private key on Curve25519 and its public half, 32 bytes each."""

    private: bytes
    public: bytes

    @classmethod
    def make(cls) -> KeyPair:
        """Return a new pair, from the operating system's entropy."""
        return cls.of(secrets.token_bytes(2 * BLOCK))

    @classmethod
    def of(cls, private: bytes) -> KeyPair:
        """Return the pair of a private key; raises ``ValueError`` if the bytes are none."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        return cls(private, X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw())

    def secret_with(self, public: bytes) -> bytes:
        """Return the secret shared with the owner of a public key, 32 bytes; raises ``ValueError`` if that is none."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        agreed = X25519PrivateKey.from_private_bytes(self.private).exchange(X25519PublicKey.from_public_bytes(public))
        return HKDF(SHA256(), length=32, salt=None, info=b"fedtap secure aggregation").derive(agreed)


def new_seed() -> bytes:
    """Return a secret of one block, from the operating system's entropy."""
    return secrets.token_bytes(BLOCK)


def share(secret: bytes, clients: Sequence[str]) -> dict[str, bytes]:
    """Return a share of a secret for each client, of which :func:`threshold` restore it and fewer say nothing of it."""
    from Crypto.Protocol.SecretSharing import Shamir

    shares = [bytearray(number.to_bytes(_INDEX, "big")) for number in range(1, len(clients) + 1)]
    for place in range(0, len(secret), BLOCK):
        block = secret[place : place + BLOCK]
        for number, part in Shamir.split(threshold(len(clients)), len(clients), block, ssss=False):
            shares[number - 1] += part
    return {client: bytes(each) for client, each in zip(clients, shares, strict=True)}


def restore(shares: Iterable[bytes], clients: int) -> bytes:
    """Return the secret of which these are shares; raises ``ValueError`` if they are too few, or not of one secret."""
    from Crypto.Protocol.SecretSharing import Shamir

    needed = threshold(clients)
    found = list(shares)
    if len(found) < needed:
        raise ValueError(f"{len(found)} shares, and {needed} are needed")
    numbers = [int.from_bytes(each[:_INDEX], "big") for each in found]
    if (
        len({len(each) for each in found}) != 1
        or len(found[0]) <= _INDEX
        or (len(found[0]) - _INDEX) % BLOCK
        or len(set(numbers)) != len(numbers)
        or not all(1 <= number <= clients for number in numbers)
    ):
        raise ValueError("shares that do not belong together")
    used = list(zip(numbers, found, strict=True))[:needed]
    blocks = range(_INDEX, len(found[0]), BLOCK)
    return b"".join(
        Shamir.combine([(number, each[at : at + BLOCK]) for number, each in used], ssss=False) for at in blocks
    )


def seal(secret: bytes, text: str) -> str:
    """Return a text that only those who share a secret can read."""
    from cryptography.fernet import Fernet

    return Fernet(urlsafe_b64encode(secret)).encrypt(text.encode()).decode()


def unseal(secret: bytes, sealed: str) -> str:
    """Return what was sealed; raises ``ValueError`` if it was not sealed with this secret."""
    from cryptography.fernet import Fernet, InvalidToken

    try:
        return Fernet(urlsafe_b64encode(secret)).decrypt(sealed.encode()).decode()
    except (InvalidToken, UnicodeDecodeError) as error:
        raise ValueError("a sealed text that was not meant for this client, or was changed on its way") from error
