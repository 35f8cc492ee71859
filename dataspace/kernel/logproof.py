"""Checks of log entries by whoever does not trust the log: the resident's client, the broker, an auditor.

Pure: proof bundles (docs/formats.md, "Log") and a checkpoint that the caller has verified go in; entry bodies come
out, or an exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dataspace.kernel.encoding import HEADER, Json, b64, frame, parse_canonical, unb64
from dataspace.kernel.errors import DataspaceError, MalformedError, UnknownFormatError
from dataspace.kernel.merkle import ProofInvalidError, leaf_hash, verify_inclusion
from dataspace.kernel.note import Checkpoint, parse_checkpoint

ENTRY_VERSION = 1
SALT_BYTES = 16

_BUNDLE = {"index", "salt", "body", "size", "inclusion", "checkpoint"}
_CHAIN = {"subject", "number", "previous"}


class LogGapError(DataspaceError):
    """An entry about a resident is missing from the chain that was shown."""

    code = "log_entry_missing"


@dataclass(frozen=True)
class VerifiedEntry:
    """An entry that is proven to stand in the log; ``leaf_hash`` is b64, the ``previous`` of its successor."""

    index: int
    leaf_hash: str
    body: dict[str, Json]


def leaf_data(salt: bytes, body: bytes) -> bytes:
    """The bytes whose leaf hash stands in the tree: frame("log-leaf", version and suite, salt, body)."""
    return frame("log-leaf", HEADER, salt, body)


def verify_entry(bundle: Mapping[str, Json], checkpoint: Checkpoint) -> dict[str, Json]:
    """The body of the entry that ``bundle`` proves to stand under ``checkpoint`` (already verified by the caller)."""
    return open_entry(bundle, checkpoint).body


def open_entry(bundle: Mapping[str, Json], checkpoint: Checkpoint) -> VerifiedEntry:
    """As :func:`verify_entry`, with index and leaf hash. Raises MalformedError or :class:`ProofInvalidError`."""
    if not isinstance(bundle, Mapping) or bundle.keys() != _BUNDLE:
        raise MalformedError("not a proof bundle")
    index, inclusion = bundle["index"], bundle["inclusion"]
    if type(index) is not int or type(bundle["size"]) is not int or not isinstance(inclusion, list):
        raise MalformedError("not a proof bundle")
    if not isinstance(bundle["checkpoint"], str) or parse_checkpoint(bundle["checkpoint"]) != checkpoint:
        raise ProofInvalidError("the proof is for another checkpoint")
    if bundle["size"] != checkpoint.size:
        raise ProofInvalidError("the proof is for another size of the log")
    body = unb64(bundle["body"])
    hashed = leaf_hash(leaf_data(unb64(bundle["salt"], size=SALT_BYTES), body))
    proof = [unb64(item, size=32) for item in inclusion]
    verify_inclusion(hashed, index, checkpoint.size, proof, checkpoint.root)
    return VerifiedEntry(index, b64(hashed), parse_entry_body(body))


def parse_entry_body(body: bytes) -> dict[str, Json]:
    """An entry body taken apart strictly: canonical, version 1, and all or none of subject, number, previous."""
    value = parse_canonical(body)
    if type(value.get("v")) is not int or value["v"] != ENTRY_VERSION:
        raise UnknownFormatError("unknown version of a log entry")
    if not isinstance(value.get("kind"), str) or type(value.get("at")) is not int:
        raise MalformedError("a log entry has kind and at")
    chained = value.keys() & _CHAIN
    if chained and not _is_chained(value):
        raise MalformedError("an entry about a resident has subject, number and previous")
    return value


def _is_chained(value: Mapping[str, Json]) -> bool:
    """Whether subject, number and previous are all there and fit together (previous is null for number 1 only)."""
    subject, number = value.get("subject"), value.get("number")
    if not isinstance(subject, str) or not subject or type(number) is not int or number < 1:
        return False
    if number == 1:
        return "previous" in value and value["previous"] is None
    return isinstance(value.get("previous"), str)


def verify_subject_chain(
    entries: Sequence[Mapping[str, Json]],
    checkpoint: Checkpoint,
    subject: str,
    *,
    from_number: int = 1,
    previous: str | None = None,
    head: tuple[int, str] | None = None,
) -> list[VerifiedEntry]:
    """The resident's entries ``from_number``, ``from_number + 1``, …: gapless, linked, each in the log, in its order.

    ``previous`` is the leaf hash (b64) of entry ``from_number - 1``. ``head`` is (number, leaf hash) of an entry that
    another party vouches for (the broker's ``subject-head``): the chain must reach and contain it; a head below
    ``from_number - 1`` has been checked before. Raises :class:`LogGapError` for what is missing and
    :class:`ProofInvalidError` for what is wrong.
    """
    before = previous
    verified: list[VerifiedEntry] = []
    for number, bundle in enumerate(entries, from_number):
        entry = open_entry(bundle, checkpoint)
        _require_successor(entry, subject, number, previous, verified[-1].index if verified else -1)
        previous = entry.leaf_hash
        verified.append(entry)
    if head is not None:
        known = {entry.body["number"]: entry.leaf_hash for entry in verified}
        if before is not None:
            known[from_number - 1] = before
        _require_head(head, from_number, from_number + len(verified) - 1, known)
    return verified


def _require_successor(entry: VerifiedEntry, subject: str, number: int, previous: str | None, after: int) -> None:
    if entry.body.get("subject") != subject:
        raise ProofInvalidError("the entry is about somebody else")
    if entry.body["number"] > number:
        raise LogGapError(f"entry {number} is missing", number=number)
    if entry.body["number"] != number or entry.index <= after:
        raise ProofInvalidError("the entries are not in the order of the log")
    if entry.body["previous"] != previous:
        raise ProofInvalidError("the entry does not follow the one before it")


def _require_head(head: tuple[int, str], first: int, last: int, known: Mapping[int, str]) -> None:
    number, expected = head
    if number > last:
        raise LogGapError(f"entry {last + 1} is missing", number=last + 1)
    if known.get(number, expected if number < first else None) != expected:
        raise ProofInvalidError("another entry stands where the vouched one should be")
