"""Generate certificates for content credentials: a CA and a signer it has issued."""

import datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = (
    ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)
ORGANISATION, SIGNER = "Makers of tests", "A signer"


class Identity(NamedTuple):
    """Two PEM files: the chain, and the key."""

    certificate: Path
    key: Path


def new_key(kind: str = "es256") -> Key:
    curves = {"es256": ec.SECP256R1(), "es384": ec.SECP384R1(), "es512": ec.SECP521R1()}
    if kind in curves:
        return ec.generate_private_key(curves[kind])
    if kind == "ps256":
        return rsa.generate_private_key(65537, 2048)
    return ed25519.Ed25519PrivateKey.generate()


def write_identity(
    folder: Path,
    key: Key | None = None,
    *,
    purpose: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.EMAIL_PROTECTION,
    valid_days: tuple[float, float] = (-1, 30),
    ca_first: bool = False,
) -> Identity:
    """Write a signer's chain and key; `valid_days` are relative to now."""
    key = key or new_key()
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = (
        _builder("A test CA", ca_key.public_key(), (-2, 60))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    own = (
        _builder(SIGNER, key.public_key(), valid_days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
    )
    if purpose is not None:
        own = own.add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
    chain = [own.sign(ca_key, hashes.SHA256()), ca]
    if ca_first:
        chain.reverse()
    folder.mkdir(parents=True, exist_ok=True)
    identity = Identity(folder / "chain.pem", folder / "key.pem")
    identity.certificate.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in chain))
    write_key(identity.key, key)
    return identity


def write_key(
    path: Path,
    key: Key,
    form: PrivateFormat = PrivateFormat.PKCS8,
    encryption: KeySerializationEncryption | None = None,
) -> None:
    path.write_bytes(key.private_bytes(Encoding.PEM, form, encryption or NoEncryption()))


def _builder(
    name: str, key: CertificatePublicKeyTypes, valid_days: tuple[float, float]
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    start, end = (now + datetime.timedelta(days=days) for days in valid_days)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name("A test CA"))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
