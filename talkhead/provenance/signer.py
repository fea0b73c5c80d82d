"""The user's certificate and key for content credentials, tested before any slow work."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talkhead.errors import TalkheadError
from talkhead.media.files import check_input
from talkhead.provenance.library import SETTINGS, c2pa_library
from talkhead.provenance.manifest import manifest_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate

MAX_PEM_BYTES = 1_000_000
MIN_RSA_BITS = 2048

_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_KINDS = "EC keys on P-256, P-384 or P-521, RSA keys from 2048 bits, and Ed25519 keys"


@dataclass(frozen=True)
class Signer:
    """A tested certificate and key; later changes to their files have no effect."""

    algorithm: str
    """For example es256; follows from the key."""
    chain: bytes = field(repr=False)
    """PEM, the signer's own certificate first."""
    key: bytes = field(repr=False)
    """PEM, PKCS #8, not encrypted."""

    def sign(self, manifest: dict[str, Any], mime_type: str, source: Any, target: Any) -> None:
        """Copy an open file to another, with a manifest bound to its content.

        Raises:
            TalkheadError: the library refuses; the message gives its reason.
        """
        c2pa = c2pa_library()
        info = c2pa.C2paSignerInfo(self.algorithm, self.chain, self.key, None)
        try:
            with (
                c2pa.Signer.from_info(info) as signer,
                c2pa.Context.from_dict(SETTINGS) as context,
                c2pa.Builder(manifest, context=context) as builder,
            ):
                builder.sign(signer, mime_type, source, target)
        except c2pa.C2paError as error:
            raise TalkheadError(" ".join(str(error).split())) from error


def check_signer(certificate: Path, key: Path) -> Signer:
    """Read a certificate chain and its key, and sign a tiny picture as a test.

    Args:
        certificate: PEM, the signer's own certificate first, then its issuers'.
        key: PEM, not encrypted; determines the algorithm.

    Raises:
        TalkheadError: a file cannot be read, the key does not match the certificate, the
            certificate is not valid now or not meant for signing, or c2pa-python is missing.
    """
    chain_pem, key_pem = _read_pem(certificate), _read_pem(key)
    c2pa_library()
    chain = _parse_chain(certificate, chain_pem)
    private = _parse_key(key, key_pem)
    algorithm = _algorithm_of(key, private)
    _check_fit(certificate, chain, key, private)
    _check_dates(certificate, chain)
    signer = Signer(algorithm, _to_pem(chain), _key_to_pem(private))
    _try(signer, certificate)
    return signer


def _read_pem(path: Path) -> bytes:
    check_input(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        raise TalkheadError(f"{path} cannot be read ({error.strerror})") from error
    if len(content) > MAX_PEM_BYTES:
        raise TalkheadError(f"{path} is too large for a certificate or key; name a PEM file")
    return content


def _parse_chain(path: Path, pem: bytes) -> list[Certificate]:
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(pem)
    except ValueError as error:
        raise TalkheadError(
            f"{path} has no PEM certificate; one starts with -----BEGIN CERTIFICATE-----"
        ) from error


def _parse_key(path: Path, pem: bytes) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise TalkheadError(
            f"{path} is encrypted; decrypt it first, for example with openssl pkey"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TalkheadError(f"{path} has no readable PEM private key") from error


def _algorithm_of(path: Path, key: PrivateKeyTypes) -> str:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    if isinstance(key, EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, RSAPrivateKey) and key.key_size >= MIN_RSA_BITS:
        return "ps256"
    if isinstance(key, Ed25519PrivateKey):
        return "ed25519"
    raise TalkheadError(f"{path} is a key of an unsupported type; supported are {_KINDS}")


def _check_fit(
    certificate: Path, chain: list[Certificate], key: Path, private: PrivateKeyTypes
) -> None:
    own = _public_der(private)
    fitting = [k for k, each in enumerate(chain) if _public_der(each) == own]
    if not fitting:
        raise TalkheadError(f"{key} is not the key of {certificate}; give a matching pair")
    if fitting[0] != 0:
        raise TalkheadError(
            f"{certificate} starts with another certificate; put the key's own first"
        )


def _public_der(holder: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der: bytes = holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return der


def _check_dates(path: Path, chain: list[Certificate]) -> None:
    now = datetime.now(timezone.utc)
    for each in chain:
        if each.not_valid_after_utc < now:
            raise TalkheadError(f"{path} expired on {each.not_valid_after_utc:%Y-%m-%d}; renew it")
        if each.not_valid_before_utc > now:
            raise TalkheadError(
                f"{path} is not valid before {each.not_valid_before_utc:%Y-%m-%d}; check the clock"
            )


def _to_pem(chain: list[Certificate]) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return b"".join(each.public_bytes(Encoding.PEM) for each in chain)


def _key_to_pem(key: PrivateKeyTypes) -> bytes:
    """Return a key in PKCS #8, the only form that c2pa reads."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _try(signer: Signer, certificate: Path) -> None:
    """Sign a tiny picture, so that anything the library refuses shows up now."""
    from PIL import Image

    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "JPEG")
    picture.seek(0)
    try:
        signer.sign(manifest_of(None), "image/jpeg", picture, io.BytesIO())
    except TalkheadError as error:
        raise TalkheadError(
            f"{certificate} cannot sign content credentials ({error}); it must be an end-entity"
            " certificate for digital signatures, with the extended key usage e-mail protection"
            " or document signing"
        ) from error
