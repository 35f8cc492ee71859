"""Identifiers. UUIDv7 inside (ordered by time, never shown outside); random ones wherever another party sees them."""

from __future__ import annotations

import secrets
import time

from dataspace.kernel.encoding import b64


def uuid7() -> str:
    """RFC 9562 UUIDv7 as 36 characters. Internal only: it tells its time of birth."""
    value = (time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62
    text = f"{value | secrets.randbits(62):032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def random_id() -> str:
    """128 random bits as 22 characters: for names that leave the service."""
    return b64(secrets.token_bytes(16))
