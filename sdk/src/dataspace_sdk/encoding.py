"""The one encoding of everything signed, hashed or bound into a key (docs/formats.md, "Common rules").

Written anew from the formats and not imported from the service: whoever verifies does not run the code of the verified.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

import rfc8785

from dataspace_sdk.errors import MalformedError, NotCanonicalError

VERSION = 1
SUITE = 1
HEADER = bytes((VERSION, SUITE))
"""``hd``: the first two bytes of every binary format."""

_MAX_INT = 2**53 - 1

Json = Any
"""A JSON value as Python knows it."""


def canonical(value: Json) -> bytes:
    """RFC 8785 bytes of ``value``; whole numbers only, below 2**53."""
    try:
        _refuse_numbers(value)
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeEncodeError) as error:
        raise MalformedError("cannot be written as canonical JSON") from error


def parse_canonical(data: bytes) -> dict[str, Json]:
    """The JSON object in ``data``; refused unless ``data`` is exactly its canonical encoding."""
    try:
        value = json.loads(data, parse_float=_no_float, parse_constant=_no_float)
    except (ValueError, RecursionError) as error:
        raise MalformedError("not a JSON document") from error
    if not isinstance(value, dict):
        raise MalformedError("not a JSON object")
    if canonical(value) != data:
        raise NotCanonicalError("the bytes are not the canonical encoding (RFC 8785) of their content")
    return value


def members(value: Mapping[str, Json], types: Mapping[str, type | tuple[type, ...]]) -> dict[str, Json]:
    """``value``, if it has exactly these members (beside ``v`` and ``suite``) and each is exactly of its type."""
    if value.keys() - {"v", "suite"} != types.keys():
        raise MalformedError("members are missing or unknown")
    for name, allowed in types.items():
        if type(value[name]) not in (allowed if isinstance(allowed, tuple) else (allowed,)):
            raise MalformedError(f"{name} is of another type")
    return dict(value)


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64(text: str, *, size: int | None = None) -> bytes:
    """Bytes of ``text``; refused in any spelling but the one :func:`b64` writes, or when not ``size`` bytes long."""
    try:
        raw = text.encode("ascii")
        data = base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
    except (AttributeError, UnicodeEncodeError, binascii.Error, ValueError) as error:
        raise MalformedError("not base64url") from error
    if b64(data) != text:
        raise NotCanonicalError("not the canonical base64url spelling")
    if size is not None and len(data) != size:
        raise MalformedError(f"expected {size} bytes, found {len(data)}")
    return data


def frame(use: str, *fields: bytes | str | int) -> bytes:
    """``pds/<use>/1`` and each field behind its length (4 bytes, big-endian); integers are 8 bytes, big-endian."""
    parts = [f"pds/{use}/1".encode("ascii"), *(_field_bytes(field) for field in fields)]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def digest(use: str, *fields: bytes | str | int) -> str:
    """base64url SHA-256 of ``frame("digest/<use>", ...)``: the name by which other objects point to this one."""
    return b64(hashlib.sha256(frame(f"digest/{use}", *fields)).digest())


def random_id() -> str:
    """128 random bits as 22 characters."""
    return b64(secrets.token_bytes(16))


def _field_bytes(field: bytes | str | int) -> bytes:
    if isinstance(field, bytes):
        return field
    if isinstance(field, str):
        return field.encode()
    return field.to_bytes(8, "big")


def _no_float(text: str) -> Json:
    raise NotCanonicalError("signed objects hold whole numbers only")


def _refuse_numbers(value: Json) -> None:
    if isinstance(value, float) or (isinstance(value, int) and abs(value) > _MAX_INT):
        raise MalformedError("signed objects hold whole numbers below 2**53 only")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_numbers(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _refuse_numbers(item)
