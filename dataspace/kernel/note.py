"""C2SP signed-note, tlog-checkpoint and tlog-cosignature (``cosignature/v1``), with Ed25519 only.

Stricter than C2SP in two points, because our log writes neither: a checkpoint with extension lines is refused, and
so is a signature of a known key that does not verify, even beside one that does. Signatures of unknown keys are
ignored, as C2SP asks.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from dataspace.kernel.errors import MalformedError, SignatureInvalidError
from dataspace.kernel.jws import SigningKey, verify_raw

ED25519 = 0x01
COSIGNATURE_V1 = 0x04

_MAX_NOTE = 65536
_MAX_SIGNATURES = 32
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE_LINE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class WitnessMissingError(SignatureInvalidError):
    """Fewer trusted witnesses than required have cosigned the checkpoint."""

    code = "witness_missing"


@dataclass(frozen=True)
class Checkpoint:
    """What a log says it is: ``size`` leaves under ``root`` (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def body(self) -> str:
        """The note text that is signed (tlog-checkpoint)."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True)
class NoteSignature:
    """One signature line: key name, 4-byte key id, and what follows it."""

    name: str
    key_id: bytes
    blob: bytes

    def line(self) -> str:
        return f"— {self.name} {base64.b64encode(self.key_id + self.blob).decode()}\n"


def key_id(name: str, algorithm: int, public_key: bytes) -> bytes:
    """SHA-256(name ‖ newline ‖ algorithm byte ‖ public key)[:4] (signed-note, "Signatures")."""
    return hashlib.sha256(name.encode() + b"\n" + bytes((algorithm,)) + public_key).digest()[:4]


def verifier_key(name: str, algorithm: int, public_key: bytes) -> str:
    """The C2SP ``vkey`` spelling of a public key, for configuring tools of others."""
    material = base64.b64encode(bytes((algorithm,)) + public_key).decode()
    return f"{name}+{key_id(name, algorithm, public_key).hex()}+{material}"


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> str:
    """The signed note of a checkpoint; the key's name is the origin."""
    body = checkpoint.body()
    _require_name(checkpoint.origin)
    signature = NoteSignature(
        checkpoint.origin, key_id(checkpoint.origin, ED25519, key.public), key.sign_raw(body.encode())
    )
    return f"{body}\n{signature.line()}"


def cosign(body: str, name: str, key: SigningKey, now: int) -> str:
    """The signature line of the witness ``name`` over a checkpoint body, at ``now`` (tlog-cosignature)."""
    _require_name(name)
    blob = now.to_bytes(8, "big") + key.sign_raw(_cosigned_message(body, now))
    return NoteSignature(name, key_id(name, COSIGNATURE_V1, key.public), blob).line()


def parse_note(text: str) -> tuple[str, list[NoteSignature]]:
    """Body (with its last newline) and signatures of a note; raises :class:`MalformedError`. Nothing is verified."""
    if len(text) > _MAX_NOTE or _CONTROL.search(text) or not text.endswith("\n"):
        raise MalformedError("not a signed note")
    body, blank, lines = text.rpartition("\n\n")
    signatures = [_parse_signature(line) for line in lines[:-1].split("\n")] if blank else []
    if not 0 < len(signatures) <= _MAX_SIGNATURES:
        raise MalformedError("a signed note needs between 1 and 32 signatures")
    return body + "\n", signatures


def parse_signature_line(line: str) -> NoteSignature:
    """One signature line with its newline."""
    if not line.endswith("\n"):
        raise MalformedError("a signature line ends with a newline")
    return _parse_signature(line[:-1])


def parse_body(body: str) -> Checkpoint:
    """The checkpoint in a note body: exactly origin, size, root."""
    lines = body.split("\n")
    if len(lines) != 4 or lines[3] or not lines[0] or not _SIZE.fullmatch(lines[1]):
        raise MalformedError("a checkpoint is exactly origin, size and root")
    root = std_unb64(lines[2])
    if len(root) != 32:
        raise MalformedError("the root of a checkpoint has 32 bytes")
    return Checkpoint(lines[0], int(lines[1]), root)


def parse_checkpoint(text: str) -> Checkpoint:
    """What a signed checkpoint claims. Not to be believed before :func:`verify_checkpoint`."""
    return parse_body(parse_note(text)[0])


def verify_checkpoint(
    text: str, log_key: bytes, log_name: str, witnesses: Mapping[str, bytes], witness_quorum: int
) -> Checkpoint:
    """The checkpoint in ``text``, signed by the log and cosigned by ``witness_quorum`` different witness keys.

    ``witnesses`` maps names to Ed25519 public keys (32 bytes). One key under two names counts once, and the log's
    own key counts as no witness. Raises :class:`SignatureInvalidError` or :class:`WitnessMissingError`.
    """
    body, signatures = parse_note(text)
    checkpoint = parse_body(body)
    if checkpoint.origin != log_name:
        raise SignatureInvalidError("the checkpoint is of another log")
    if not _log_signatures(body, signatures, log_key, log_name):
        raise SignatureInvalidError("the checkpoint is not signed by the log")
    confirmed = {key for name, key in witnesses.items() if _has_cosigned(body, signatures, name, key)}
    if len(confirmed - {log_key}) < witness_quorum:
        raise WitnessMissingError("too few witnesses have cosigned the checkpoint")
    return checkpoint


def verify_cosignature(body: str, signature: NoteSignature, public_key: bytes) -> int:
    """The time (seconds since 1970) at which the witness cosigned ``body``; raises SignatureInvalidError."""
    when = int.from_bytes(signature.blob[:8], "big")
    if len(signature.blob) != 72 or when >= 2**63:
        raise SignatureInvalidError("not a cosignature")
    verify_raw(public_key, _cosigned_message(body, when), signature.blob[8:])
    return when


def std_unb64(text: str) -> bytes:
    """Bytes of standard base64 with padding; refused in any other spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError("not base64") from error
    if base64.b64encode(data).decode() != text:
        raise MalformedError("not the canonical base64 spelling")
    return data


def _log_signatures(body: str, signatures: list[NoteSignature], key: bytes, name: str) -> int:
    """How many signatures of the log verify; one that does not is refused with its note."""
    found = [item for item in signatures if (item.name, item.key_id) == (name, key_id(name, ED25519, key))]
    for item in found:
        verify_raw(key, body.encode(), item.blob)
    return len(found)


def _has_cosigned(body: str, signatures: list[NoteSignature], name: str, key: bytes) -> bool:
    found = [item for item in signatures if (item.name, item.key_id) == (name, key_id(name, COSIGNATURE_V1, key))]
    for item in found:
        verify_cosignature(body, item, key)
    return bool(found)


def _parse_signature(line: str) -> NoteSignature:
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None:
        raise MalformedError("not a signature line")
    data = std_unb64(match[2])
    if len(data) < 5:
        raise MalformedError("a signature holds a key id and more")
    return NoteSignature(match[1], data[:4], data[4:])


def _require_name(name: str) -> None:
    if not re.fullmatch(r"[^\s+\x00-\x1f]+", name):
        raise MalformedError("a key name is not empty and has no spaces and no plus sign")


def _cosigned_message(body: str, when: int) -> bytes:
    return f"cosignature/v1\ntime {when}\n{body}".encode()
