"""Certificates and keys for a federation: an authority, the SuperLink's certificate signed by it, and a key pair for each node.

For a federation whose institutions have an authority of their own, take its certificates; nothing else depends on these.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedtap.runtime.errors import UserError
from fedtap.runtime.private import new_private_file, private_folder

DAYS = 365
LOOPBACK = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where the files lie: the authority's certificate for everybody, the other two for the SuperLink alone."""

    authority: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path, hosts: Sequence[str] = LOOPBACK, days: int = DAYS) -> Certificates:
    """Make an authority and a certificate for the SuperLink, and return where they lie.

    The authority's key is thrown away: nothing else is ever signed with it. When the certificate expires, or the SuperLink moves
    to another name, make new ones and give every node the new ``ca.crt``.

    Parameters
    ----------
    folder
        For ``ca.crt``, ``server.crt`` and ``server.key``; none of them may be there.
    hosts
        Names and addresses under which nodes reach the SuperLink, and under which it reaches itself.
    days
        How long the certificate is valid.

    Raises
    ------
    UserError
        If there are such files already, or no host is given.
    """
    files = Certificates(folder / "ca.crt", folder / "server.crt", folder / "server.key")
    for path in (files.authority, files.certificate, files.key):
        if path.exists():
            raise UserError(f"{path}: is there already; remove it, or give another folder")
    if not hosts:
        raise UserError("no host for the certificate; give the name or address under which nodes reach the SuperLink")
    private_folder(folder)
    now = datetime.datetime.now(datetime.timezone.utc)
    authority_key, server_key = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fedtap federation")])

    def started(subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
            )
        )

    of_authority = (
        started(authority, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(authority_key, hashes.SHA384())
    )
    of_server = (
        started(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])]), server_key.public_key())
        .add_extension(x509.SubjectAlternativeName([_name(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA384())
    )
    files.authority.write_bytes(of_authority.public_bytes(Encoding.PEM))
    files.certificate.write_bytes(of_server.public_bytes(Encoding.PEM))
    new_private_file(files.key, server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def make_node_key(path: Path) -> Path:
    """Make a node's key pair, as ``ssh-keygen -t ecdsa -b 384`` does, and return the public key's path, ``<path>.pub``.

    Raises
    ------
    UserError
        If there is a file already: a key that was handed out must not be lost by accident.
    """
    public = path.with_name(f"{path.name}.pub")
    for each in (path, public):
        if each.exists():
            raise UserError(f"{each}: is there already; keep it, or remove both halves of the key")
    key = ec.generate_private_key(ec.SECP384R1())
    new_private_file(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n")
    return public


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
