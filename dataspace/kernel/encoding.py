"""The one encoding of everything that is signed, hashed or bound into a key.

Three rules, used by every format of the product (docs/formats.md):

1. JSON that is signed is RFC 8785 canonical, holds no floats and no integers of 2**53 or more, and is refused in
   any other spelling.
2. Bytes inside JSON are base64url without padding (RFC 4648 section 5), refused in any other spelling.
3. What goes into a hash, an HPKE ``info``, an AAD or an HKDF label is ``frame(use, ...)``: ``pds/<use>/1`` and
   length-prefixed fields, so that no two different inputs share their bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

import rfc8785

from dataspace.kernel.errors import MalformedError, NotCanonicalError, UnknownFormatError

VERSION = 1
SUITE_1 = 1
HEADER = bytes((VERSION, SUITE_1))
"""First two bytes of every binary format: version, suite."""

_MAX_INT = 2**53 - 1
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_FIRST_OF_FOUR_BYTES = 0xF0
"""UTF-8 sequences of four bytes (U+10000 and above) begin here."""

Json = Any
"""A JSON value as Python knows it."""


def canonical(value: Json) -> bytes:
    """RFC 8785 bytes of ``value``. Floats are refused: they have no place in signed objects.

    Without floats, RFC 8785 is the C encoder's compact output with sorted keys, as long as UTF-16 and code point order
    agree, which they do below U+10000; anything else goes through the ``rfc8785`` package (a third of the speed).
    """
    try:
        _refuse_unsigned(value)
        fast = _ENCODER.encode(value).encode()
        return fast if fast.isascii() or max(fast) < _FIRST_OF_FOUR_BYTES else rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, RecursionError, TypeError, ValueError) as error:
        raise MalformedError(f"cannot be written as canonical JSON: {type(error).__name__}") from error


def parse_canonical(data: bytes) -> dict[str, Json]:
    """The JSON object in ``data``; refused unless ``data`` is exactly its canonical encoding."""
    try:
        value = json.loads(data, parse_float=_no_float, parse_constant=_no_float)
    except NotCanonicalError:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedError("not a JSON document") from error
    if not isinstance(value, dict):
        raise MalformedError("not a JSON object")
    if canonical(value) != data:
        raise NotCanonicalError("the bytes are not the canonical encoding (RFC 8785) of their content")
    return value


def _no_float(_text: str) -> Json:
    raise NotCanonicalError("signed objects hold whole numbers only")


def _refuse_unsigned(value: Json) -> None:
    """Refuse what has no place in signed objects: floats, large integers, keys that are not text."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise MalformedError("the keys of objects are text")
            _refuse_unsigned(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _refuse_unsigned(item)
    elif isinstance(value, float):
        raise MalformedError("signed objects hold whole numbers only")
    elif isinstance(value, int) and abs(value) > _MAX_INT:
        raise MalformedError("integers must stay below 2**53")


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
    label = f"pds/{use}/1".encode("ascii")
    parts = [len(label).to_bytes(4, "big"), label]
    for field in fields:
        data = _field_bytes(field)
        parts.append(len(data).to_bytes(4, "big"))
        parts.append(data)
    return b"".join(parts)


def _field_bytes(field: bytes | str | int) -> bytes:
    if isinstance(field, bytes):
        return field
    if isinstance(field, str):
        return field.encode()
    return field.to_bytes(8, "big")


def digest(use: str, *fields: bytes | str | int) -> str:
    """base64url SHA-256 of ``frame("digest/<use>", ...)``: the name by which other objects point to this one."""
    return b64(hashlib.sha256(frame(f"digest/{use}", *fields)).digest())


def strip_header(data: bytes) -> bytes:
    """``data`` behind its version and suite bytes; anything but version 1, suite 1 is refused."""
    if data[:2] != HEADER:
        raise UnknownFormatError("unknown version or suite")
    return data[2:]
