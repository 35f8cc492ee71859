"""Opening of results: HPKE (RFC 9180) with X-Wing (0x647a), HKDF-SHA-256, AES-256-GCM, single shot."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite

from dataspace_sdk.encoding import HEADER
from dataspace_sdk.errors import CannotOpenError, MalformedError

SEED_BYTES = 32
_HPKE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class ResultKey:
    """The key pair of one ask, expanded from its seed: SHAKE256(seed, 96) = ML-KEM-768 d‖z ‖ X25519 private."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise MalformedError("a seed has 32 bytes")
        expanded = hashlib.shake_256(seed).digest(96)
        ml_kem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
        self._key = MLKEM768X25519PrivateKey(ml_kem, x25519)
        self.public = ml_kem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    def open(self, info: bytes, sealed: bytes) -> bytes:
        """The message; :class:`CannotOpenError` for every failure."""
        if sealed[:2] != HEADER:
            raise CannotOpenError("the sealed result does not open")
        try:
            return _HPKE.decrypt(sealed[2:], self._key, info)
        except (InvalidTag, ValueError) as error:
            raise CannotOpenError("the sealed result does not open") from error
