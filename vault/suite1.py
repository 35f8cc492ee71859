"""Suite 1: HPKE with X-Wing, HKDF-SHA-256, AES-256-GCM (RFC 9180) and XChaCha20-Poly1305.

The only module that calls cipher primitives. Randomness enters here, at the outermost line; ``_aead_seal`` below it
is deterministic, for vectors.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from nacl import bindings
from nacl.exceptions import CryptoError

from dataspace.kernel.encoding import HEADER, digest
from dataspace.kernel.errors import MalformedError, UnknownFormatError
from vault.errors import CannotOpenError

KEY_BYTES = 32
PUBLIC_KEY_BYTES = 1216
HPKE_OVERHEAD = 2 + 1120 + 16
AEAD_OVERHEAD = 2 + 24 + 16
_MLKEM_PUBLIC = 1184
_HPKE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class SealingKey:
    """The public half of an X-Wing key pair: anyone who has it can seal, nobody can open with it."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) != PUBLIC_KEY_BYTES:
            raise MalformedError(f"an X-Wing public key has {PUBLIC_KEY_BYTES} bytes")
        try:
            ml_kem = MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC])
            self._key = MLKEM768X25519PublicKey(ml_kem, X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC:]))
        except ValueError as error:
            raise MalformedError("not an X-Wing public key") from error
        self.raw = raw

    def seal(self, info: bytes, message: bytes) -> bytes:
        """``hd`` + HPKE single-shot ciphertext; ``info`` carries all context, since there is no AAD."""
        try:
            return HEADER + _HPKE.encrypt(message, self._key, info)
        except ValueError as error:  # an X25519 point of low order, to which nothing can be sealed
            raise MalformedError("not an X-Wing public key") from error


class OpeningKey:
    """The private half, expanded from a 32-byte seed: SHAKE256(seed, 96) = d‖z‖x25519 (draft X-Wing, section 5.2)."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_BYTES:
            raise MalformedError("a seed has 32 bytes")
        expanded = hashlib.shake_256(seed).digest(96)
        ml_kem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
        self._key = MLKEM768X25519PrivateKey(ml_kem, x25519)
        self.public = ml_kem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    def open(self, info: bytes, sealed: bytes) -> bytes:
        """The message; :class:`CannotOpenError` for every failure."""
        if sealed[:2] != HEADER:
            raise UnknownFormatError("unknown version or suite")
        try:
            return _HPKE.decrypt(sealed[2:], self._key, info)
        except (InvalidTag, ValueError) as error:
            raise CannotOpenError from error


@lru_cache(maxsize=4096)
def epoch_key_digest(public_key: bytes) -> str:
    """Name of an epoch key (or of any X-Wing public key) wherever it is referred to."""
    return digest("epoch-key", HEADER, public_key)


def new_key() -> bytes:
    """32 random bytes."""
    return secrets.token_bytes(KEY_BYTES)


def derive(key: bytes, info: bytes) -> bytes:
    """HKDF-SHA-256 (RFC 5869) without salt, 32 bytes: one extract and one expand block."""
    extracted = hmac.digest(bytes(32), key, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def aead_seal(key: bytes, aad: bytes, message: bytes) -> bytes:
    """``hd`` + nonce + XChaCha20-Poly1305 ciphertext, under a fresh random nonce."""
    return _aead_seal(key, aad, message, secrets.token_bytes(24))


def _aead_seal(key: bytes, aad: bytes, message: bytes, nonce: bytes) -> bytes:
    return HEADER + nonce + bytes(bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(message, aad, nonce, key))


def aead_open(key: bytes, aad: bytes, sealed: bytes) -> bytes:
    """The message of :func:`aead_seal`; :class:`CannotOpenError` for every failure."""
    if sealed[:2] != HEADER:
        raise UnknownFormatError("unknown version or suite")
    try:
        return bytes(bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed[26:], aad, sealed[2:26], key))
    except (CryptoError, ValueError, TypeError) as error:
        raise CannotOpenError from error
