"""Bodies at rest: salt and body sealed together, bound to their leaf hash."""

from __future__ import annotations

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt as _decrypt,
)
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_encrypt as _encrypt,
)
from nacl.exceptions import CryptoError

from dataspace.audit.errors import LogCorruptError
from dataspace.kernel.encoding import HEADER, frame, strip_header
from dataspace.kernel.errors import MalformedError
from dataspace.kernel.logproof import SALT_BYTES

NONCE_BYTES = 24


class BodyKey:
    """The 32-byte key of the log's bodies. Whoever has it can read them; nobody can change them with it."""

    def __init__(self, key: bytes) -> None:
        if len(key) != 32:
            raise MalformedError("a body key has 32 bytes")
        self._key = key

    def __repr__(self) -> str:
        return "BodyKey()"

    def seal(self, leaf_hash: bytes, salt: bytes, body: bytes, nonce: bytes) -> bytes:
        """aead-seal of docs/formats.md over salt ‖ body, with the AAD frame("log-body", hd, leaf hash)."""
        return HEADER + nonce + bytes(_encrypt(salt + body, _aad(leaf_hash), nonce, self._key))

    def open(self, leaf_hash: bytes, sealed: bytes) -> tuple[bytes, bytes]:
        """Salt and body; raises :class:`LogCorruptError` for anything this key did not seal for this leaf."""
        try:
            rest = strip_header(sealed)
            plain = bytes(_decrypt(rest[NONCE_BYTES:], _aad(leaf_hash), rest[:NONCE_BYTES], self._key))
        except (CryptoError, ValueError, MalformedError) as error:
            raise LogCorruptError("a stored body cannot be opened") from error
        return plain[:SALT_BYTES], plain[SALT_BYTES:]


def _aad(leaf_hash: bytes) -> bytes:
    return frame("log-body", HEADER, leaf_hash)
