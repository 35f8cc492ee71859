"""Checks of log entries: RFC 6962 inclusion, C2SP tlog-checkpoint and tlog-cosignature, proof bundles. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dataspace_sdk.encoding import HEADER, Json, b64, frame, parse_canonical, unb64
from dataspace_sdk.errors import (
    MalformedError,
    ProofInvalidError,
    SignatureInvalidError,
    UnknownFormatError,
    WitnessMissingError,
)
from dataspace_sdk.jws import verify_raw

ED25519 = 0x01
COSIGNATURE_V1 = 0x04

_MAX_NOTE = 65536
_MAX_SIGNATURES = 32
_MAX_PROOF = 63
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE_LINE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_BUNDLE = {"index", "salt", "body", "size", "inclusion", "checkpoint"}


@dataclass(frozen=True)
class Checkpoint:
    """``size`` leaves under ``root`` (32 bytes), and the names of the trusted witnesses that cosigned it."""

    origin: str
    size: int
    root: bytes
    witnesses: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """An entry that is proven to stand in the log; ``leaf_hash`` is b64."""

    index: int
    leaf_hash: str
    body: dict[str, Json]


@dataclass(frozen=True)
class _Signature:
    name: str
    key_id: bytes
    blob: bytes


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes) -> None:
    """RFC 9162 section 2.1.3.2: the leaf hash ``leaf`` stands at ``index`` in the tree of ``size`` leaves."""
    if not 0 <= index < size or len(proof) > _MAX_PROOF:
        raise ProofInvalidError("the index is outside the tree, or the proof too long")
    node, position, last = leaf, index, size - 1
    for sibling in proof:
        if last == 0:
            raise ProofInvalidError("the inclusion proof is too long")
        if position & 1 or position == last:
            node = _node_hash(sibling, node)
            while position and not position & 1:  # levels on which the right edge has no sibling
                position, last = position >> 1, last >> 1
        else:
            node = _node_hash(node, sibling)
        position, last = position >> 1, last >> 1
    if last != 0 or node != expected_root:
        raise ProofInvalidError("the inclusion proof does not lead to the root")


def leaf_hash(salt: bytes, body: bytes) -> bytes:
    """RFC 6962 leaf hash of frame("log-leaf", hd, salt, body)."""
    return hashlib.sha256(b"\x00" + frame("log-leaf", HEADER, salt, body)).digest()


def verify_checkpoint(
    text: str, log_key: bytes, origin: str, witnesses: Mapping[str, bytes], witness_quorum: int
) -> Checkpoint:
    """The checkpoint in ``text``, signed by the log and cosigned by ``witness_quorum`` different witness keys.

    One key under two names counts once, and the log's own key counts as no witness. Signatures of unknown keys are
    ignored; one of a known key that does not verify is refused with its note.
    """
    body, signatures = _parse_note(text)
    found_origin, size, root = _parse_body(body)
    if found_origin != origin:
        raise SignatureInvalidError("the checkpoint is of another log")
    if not _log_has_signed(body, signatures, origin, log_key):
        raise SignatureInvalidError("the checkpoint is not signed by the log")
    confirmed = {name: key for name, key in witnesses.items() if _has_cosigned(body, signatures, name, key)}
    if len(set(confirmed.values()) - {log_key}) < witness_quorum:
        raise WitnessMissingError("too few witnesses have cosigned the checkpoint")
    return Checkpoint(origin, size, root, tuple(sorted(confirmed)))


def open_entry(bundle: Mapping[str, Json], checkpoint: Checkpoint) -> Entry:
    """The entry that ``bundle`` proves to stand under ``checkpoint``, which the caller took from it and verified."""
    if not isinstance(bundle, Mapping) or bundle.keys() != _BUNDLE:
        raise MalformedError("not a proof bundle")
    index, inclusion = bundle["index"], bundle["inclusion"]
    if type(index) is not int or type(bundle["size"]) is not int or not isinstance(inclusion, list):
        raise MalformedError("not a proof bundle")
    if bundle["size"] != checkpoint.size:
        raise ProofInvalidError("the proof is for another size of the log")
    body = unb64(bundle["body"])
    hashed = leaf_hash(unb64(bundle["salt"], size=16), body)
    proof = [unb64(item, size=32) for item in inclusion]
    verify_inclusion(hashed, index, checkpoint.size, proof, checkpoint.root)
    value = parse_canonical(body)
    if type(value.get("v")) is not int or value["v"] != 1:
        raise UnknownFormatError("unknown version of a log entry")
    if not isinstance(value.get("kind"), str) or type(value.get("at")) is not int:
        raise MalformedError("a log entry has kind and at")
    return Entry(index, b64(hashed), value)


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _parse_note(text: str) -> tuple[str, list[_Signature]]:
    """Body (with its last newline) and signatures of a C2SP signed note."""
    if not isinstance(text, str) or len(text) > _MAX_NOTE or _CONTROL.search(text) or not text.endswith("\n"):
        raise MalformedError("not a signed note")
    body, blank, lines = text.rpartition("\n\n")
    signatures = [_parse_signature(line) for line in lines[:-1].split("\n")] if blank else []
    if not 0 < len(signatures) <= _MAX_SIGNATURES:
        raise MalformedError("a signed note needs between 1 and 32 signatures")
    return body + "\n", signatures


def _parse_signature(line: str) -> _Signature:
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None:
        raise MalformedError("not a signature line")
    data = _std_unb64(match[2])
    if len(data) < 5:
        raise MalformedError("a signature holds a key id and more")
    return _Signature(match[1], data[:4], data[4:])


def _parse_body(body: str) -> tuple[str, int, bytes]:
    lines = body.split("\n")
    if len(lines) != 4 or lines[3] or not lines[0] or not _SIZE.fullmatch(lines[1]):
        raise MalformedError("a checkpoint is exactly origin, size and root")
    root = _std_unb64(lines[2])
    if len(root) != 32:
        raise MalformedError("the root of a checkpoint has 32 bytes")
    return lines[0], int(lines[1]), root


def _log_has_signed(body: str, signatures: Sequence[_Signature], name: str, key: bytes) -> bool:
    found = _of_key(signatures, name, ED25519, key)
    for item in found:
        verify_raw(key, body.encode(), item.blob)
    return bool(found)


def _has_cosigned(body: str, signatures: Sequence[_Signature], name: str, key: bytes) -> bool:
    found = _of_key(signatures, name, COSIGNATURE_V1, key)
    for item in found:
        when = int.from_bytes(item.blob[:8], "big")
        if len(item.blob) != 72 or when >= 2**63:
            raise SignatureInvalidError("not a cosignature")
        verify_raw(key, f"cosignature/v1\ntime {when}\n{body}".encode(), item.blob[8:])
    return bool(found)


def _of_key(signatures: Sequence[_Signature], name: str, algorithm: int, key: bytes) -> list[_Signature]:
    key_id = hashlib.sha256(name.encode() + b"\n" + bytes((algorithm,)) + key).digest()[:4]
    return [item for item in signatures if (item.name, item.key_id) == (name, key_id)]


def _std_unb64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError("not base64") from error
    if base64.b64encode(data).decode() != text:
        raise MalformedError("not the canonical base64 spelling")
    return data
