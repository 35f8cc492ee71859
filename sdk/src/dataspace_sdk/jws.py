"""Signed objects: compact JWS (RFC 7515) with Ed25519 only (RFC 8037, 9864), one spelling, one type for each use."""

from __future__ import annotations

from dataclasses import dataclass

from nacl.exceptions import CryptoError
from nacl.signing import SigningKey as _NaclSigningKey
from nacl.signing import VerifyKey as _NaclVerifyKey

from dataspace_sdk.encoding import SUITE, VERSION, Json, b64, canonical, digest, parse_canonical, unb64
from dataspace_sdk.errors import MalformedError, SignatureInvalidError, UnknownFormatError

MAX_JWS = 1 << 20
"""Characters; larger ones are refused before any parsing."""


def fingerprint(public_key: bytes) -> str:
    """The ``kid`` of a signing key: digest("signing-key", version, suite, 32 raw bytes)."""
    return digest("signing-key", VERSION, SUITE, public_key)


class SigningKey:
    """An Ed25519 private key, from its 32-byte seed."""

    def __init__(self, seed: bytes) -> None:
        self._key = _NaclSigningKey(seed)
        self.public = bytes(self._key.verify_key)
        self.kid = fingerprint(self.public)

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid})"

    def sign(self, typ: str, payload: dict[str, Json]) -> str:
        """Compact JWS of ``payload`` (plus ``v`` and ``suite``), of the explicit type ``pds-<typ>+jws``."""
        header = canonical({"alg": "Ed25519", "kid": self.kid, "typ": f"pds-{typ}+jws"})
        signing_input = f"{b64(header)}.{b64(payload_bytes(payload))}"
        return f"{signing_input}.{b64(bytes(self._key.sign(signing_input.encode('ascii')).signature))}"


def payload_bytes(payload: dict[str, Json]) -> bytes:
    """What is signed of ``payload``, and digested wherever another object names it."""
    return canonical({**payload, "v": VERSION, "suite": SUITE})


@dataclass(frozen=True)
class Signed:
    """A JWS taken apart, not yet verified."""

    typ: str
    kid: str
    payload: dict[str, Json]
    payload_bytes: bytes
    signing_input: bytes
    signature: bytes


def parse(token: str, *, limit: int = MAX_JWS) -> Signed:
    """Take a JWS apart strictly. Nothing in the result may be believed before :func:`verify`."""
    if not isinstance(token, str) or len(token) > limit:
        raise MalformedError("not a signed object, or too large")
    parts = token.split(".")
    if len(parts) != 3:
        raise MalformedError("not a compact JWS")
    header = parse_canonical(unb64(parts[0]))
    if header.keys() != {"alg", "kid", "typ"} or header["alg"] != "Ed25519":
        raise MalformedError("the JWS header must be exactly alg=Ed25519, kid, typ")
    if not isinstance(header["typ"], str) or not isinstance(header["kid"], str):
        raise MalformedError("kid and typ must be strings")
    body = unb64(parts[1])
    payload = parse_canonical(body)
    if any(type(payload.get(name)) is not int or payload[name] != 1 for name in ("v", "suite")):
        raise UnknownFormatError("unknown version or suite")
    signing_input = f"{parts[0]}.{parts[1]}".encode("ascii")
    return Signed(header["typ"], header["kid"], payload, body, signing_input, unb64(parts[2], size=64))


def verify(token: str, typ: str, public_key: bytes, *, limit: int = MAX_JWS) -> Signed:
    """The content of ``token``, signed by ``public_key`` for the use ``typ``; raises :class:`SignatureInvalidError`."""
    signed = parse(token, limit=limit)
    if signed.typ != f"pds-{typ}+jws" or signed.kid != fingerprint(public_key):
        raise SignatureInvalidError(f"not a {typ} by the expected key")
    verify_raw(public_key, signed.signing_input, signed.signature)
    return signed


def verify_raw(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Raise :class:`SignatureInvalidError` unless ``signature`` over ``message`` is by ``public_key``."""
    try:
        _NaclVerifyKey(public_key).verify(message, signature)
    except (CryptoError, ValueError, TypeError) as error:
        raise SignatureInvalidError("the signature does not verify") from error
