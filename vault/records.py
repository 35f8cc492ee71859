"""The source's signed statement inside each record, and its check against what the record was opened with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dataspace.kernel.encoding import digest, parse_canonical
from dataspace.kernel.jws import SigningKey, verify
from vault.envelope import SlotContext, pack, unpack
from vault.errors import RecordInvalidError

TYP = "record"
_MEMBERS = {
    "v",
    "suite",
    "data",
    "source_id",
    "link_id",
    "record_id",
    "collection",
    "schema",
    "epoch_key",
    "sequence",
    "supersedes",
    "issued_at",
}


@dataclass(frozen=True)
class Record:
    """One opened and verified record. ``sequence`` counts per link and collection, from 1, without gaps."""

    record_id: str
    collection: str
    schema: str
    source_id: str
    link_id: str
    sequence: int
    supersedes: str | None
    issued_at: int
    data: dict[str, Any]


def sign_record(key: SigningKey, record: Record, epoch_key: str, data: bytes) -> bytes:
    """Padded payload of a record: its data and the source's signature over everything that places it."""
    proof = key.sign(
        TYP,
        {
            "data": digest("record-data", data),
            "source_id": record.source_id,
            "link_id": record.link_id,
            "record_id": record.record_id,
            "collection": record.collection,
            "schema": record.schema,
            "epoch_key": epoch_key,
            "sequence": record.sequence,
            "supersedes": record.supersedes,
            "issued_at": record.issued_at,
        },
    )
    return pack(data, proof)


def read_record(payload: bytes, record_id: str, context: SlotContext, source_key: bytes) -> Record:
    """The record in an opened payload; refused unless the source signed exactly the place it was found in."""
    data, proof = unpack(payload)
    claims = verify(proof, TYP, source_key).payload
    if claims.keys() != _MEMBERS:
        raise RecordInvalidError("unknown or missing members")
    expected = {
        "data": digest("record-data", data),
        "record_id": record_id,
        "collection": context.collection,
        "epoch_key": context.epoch_key,
        "source_id": context.source_id,
    }
    if not _well_formed(claims):
        raise RecordInvalidError("a value is not in the required form")
    differing = sorted(name for name, value in expected.items() if claims[name] != value)
    if differing:
        raise RecordInvalidError(f"the source signed another {', '.join(differing)}", code="transplanted_record")
    return Record(
        record_id=record_id,
        collection=context.collection,
        schema=claims["schema"],
        source_id=context.source_id,
        link_id=claims["link_id"],
        sequence=claims["sequence"],
        supersedes=claims["supersedes"],
        issued_at=claims["issued_at"],
        data=parse_canonical(data),
    )


def _well_formed(claims: dict[str, Any]) -> bool:
    """Whether what the source alone decides has the required types: a broken record must not upset its reader."""
    texts = all(isinstance(claims[name], str) for name in ("schema", "link_id"))
    numbers = all(type(claims[name]) is int for name in ("sequence", "issued_at"))
    return texts and numbers and claims["sequence"] >= 1 and isinstance(claims["supersedes"], str | None)


def gaps(records: list[Record]) -> list[tuple[str, str, int]]:
    """(link, collection, missing sequence number) of every number below the highest that is not here."""
    seen: dict[tuple[str, str], set[int]] = {}
    for record in records:
        seen.setdefault((record.link_id, record.collection), set()).add(record.sequence)
    return [
        (link, name, number)
        for (link, name), numbers in sorted(seen.items())
        for number in range(1, max(numbers))
        if number not in numbers
    ]
