"""Signed objects: compact JWS (RFC 7515) with one algorithm (Ed25519, RFC 8037 and 9864) and one spelling.

The profile is narrower than JOSE on purpose, so that no byte of a stored object can change without a refusal:
header and payload are canonical JSON, the header is exactly ``alg``, ``kid`` and ``typ``, base64url has one
spelling, and ``typ`` names the one use that the signature is for. Any JOSE library verifies these objects.
"""

from __future__ import annotations

from dataclasses import dataclass

from nacl.exceptions import CryptoError
from nacl.signing import SigningKey as _NaclSigningKey
from nacl.signing import VerifyKey as _NaclVerifyKey

from dataspace.kernel.encoding import SUITE_1, VERSION, Json, b64, canonical, digest, parse_canonical, unb64
from dataspace.kernel.errors import MalformedError, SignatureInvalidError, UnknownFormatError

MAX_JWS = 1 << 20
"""Characters; larger ones are refused before any parsing."""


def fingerprint(public_key: bytes) -> str:
    """Name of a signing key: base64url SHA-256 over version, suite and the 32 raw bytes."""
    return digest("signing-key", VERSION, SUITE_1, public_key)


class SigningKey:
    """An Ed25519 private key, from its 32-byte seed."""

    def __init__(self, seed: bytes) -> None:
        self._key = _NaclSigningKey(seed)
        self.seed = seed
        self.public = bytes(self._key.verify_key)
        self.kid = fingerprint(self.public)

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid})"

    def sign_raw(self, message: bytes) -> bytes:
        """The 64-byte signature over ``message``."""
        return bytes(self._key.sign(message).signature)

    def sign(self, typ: str, payload: dict[str, Json]) -> str:
        """Compact JWS of ``payload`` (plus ``v`` and ``suite``), of the explicit type ``pds-<typ>+jws``."""
        header = canonical({"alg": "Ed25519", "kid": self.kid, "typ": f"pds-{typ}+jws"})
        body = canonical({"v": VERSION, "suite": SUITE_1, **payload})
        signing_input = f"{b64(header)}.{b64(body)}"
        return f"{signing_input}.{b64(self.sign_raw(signing_input.encode('ascii')))}"


@dataclass(frozen=True)
class Signed:
    """A JWS taken apart, not yet verified: what it claims about its key, its type and its content."""

    typ: str
    kid: str
    payload: dict[str, Json]
    payload_bytes: bytes
    signing_input: bytes
    signature: bytes


def parse(token: str) -> Signed:
    """Take a JWS apart strictly. Nothing in the result may be believed before :func:`verify`."""
    if not isinstance(token, str) or len(token) > MAX_JWS:
        raise MalformedError("not a signed object, or too large")
    parts = token.split(".")
    if len(parts) != 3:
        raise MalformedError("not a compact JWS")
    header = parse_canonical(unb64(parts[0]))
    if header.keys() != {"alg", "kid", "typ"} or header["alg"] != "Ed25519":
        raise MalformedError("the JWS header must be exactly alg=Ed25519, kid, typ")
    payload_bytes = unb64(parts[1])
    payload = parse_canonical(payload_bytes)
    if any(type(payload.get(name)) is not int for name in ("v", "suite")):
        raise UnknownFormatError("version and suite are numbers")
    if payload["v"] != VERSION or payload["suite"] != SUITE_1:
        raise UnknownFormatError("unknown version or suite")
    if not isinstance(header["typ"], str) or not isinstance(header["kid"], str):
        raise MalformedError("kid and typ must be strings")
    signing_input = f"{parts[0]}.{parts[1]}".encode("ascii")
    return Signed(header["typ"], header["kid"], payload, payload_bytes, signing_input, unb64(parts[2], size=64))


def verify(token: str, typ: str, public_key: bytes) -> Signed:
    """The content of ``token``, signed by ``public_key`` for the use ``typ``; raises :class:`SignatureInvalidError`."""
    signed = parse(token)
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
