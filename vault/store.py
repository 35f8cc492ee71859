"""The one place that reads and writes the tables of the vault. No read without the resident's id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, func, insert, select
from sqlmodel import Session, SQLModel, col

from dataspace.kernel.db import upsert
from vault.envelope import SlotContext
from vault.tables import DeliveryRow, RecordRow, SlotRow, WrapRow

_WRAPS: Table = SQLModel.metadata.tables[str(WrapRow.__tablename__)]


@dataclass(frozen=True)
class StoredRecord:
    """A sealed record with the slot it stands in."""

    record_id: str
    context: SlotContext
    sealed_slot: bytes
    sealed: bytes


def put_wraps(session: Session, resident_id: str, wraps: str) -> None:
    upsert(session, _WRAPS, {"resident_id": resident_id, "wraps": wraps})


def wraps(session: Session, resident_id: str) -> str:
    return session.get_one(WrapRow, resident_id).wraps


def add_slots(session: Session, rows: list[dict[str, Any]]) -> None:
    """Rows of ``vault_slots``: resident_id, slot_id, collection, epoch_key, source_id, sealed."""
    if rows:
        session.execute(insert(SlotRow), rows)


def add_records(session: Session, rows: list[dict[str, Any]]) -> None:
    """Rows of ``vault_records``: resident_id, record_id, slot_id, received_at, sealed."""
    if rows:
        session.execute(insert(RecordRow), rows)


def known_records(session: Session, resident_ids: Sequence[str], record_ids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(record_ids), 400):
        part = record_ids[start : start + 400]
        query = select(col(RecordRow.record_id)).where(
            col(RecordRow.resident_id).in_(resident_ids),
            col(RecordRow.record_id).in_(part),
        )
        found.update(session.scalars(query))
    return found


def records_of(
    session: Session, resident_ids: Sequence[str], collections: Iterable[str] | None = None
) -> dict[str, list[StoredRecord]]:
    """Sealed records of each resident, oldest first; of all collections unless some are named."""
    found: dict[str, list[StoredRecord]] = {name: [] for name in resident_ids}
    for start in range(0, len(resident_ids), 400):
        part = resident_ids[start : start + 400]
        query = (
            select(RecordRow, SlotRow)
            .join(
                SlotRow,
                (col(SlotRow.resident_id) == col(RecordRow.resident_id))
                & (col(SlotRow.slot_id) == col(RecordRow.slot_id)),
            )
            .where(col(RecordRow.resident_id).in_(part))
            .order_by(col(RecordRow.resident_id), col(RecordRow.received_at), col(RecordRow.record_id))
        )
        if collections is not None:
            query = query.where(col(SlotRow.collection).in_(list(collections)))
        for record, slot in session.execute(query):
            context = SlotContext(slot.slot_id, slot.collection, slot.epoch_key, slot.source_id)
            found[record.resident_id].append(StoredRecord(record.record_id, context, slot.sealed, record.sealed))
    return found


def collections_of(session: Session, resident_ids: Sequence[str]) -> dict[str, set[str]]:
    """Names of the collections in which each resident has records."""
    found: dict[str, set[str]] = {}
    for start in range(0, len(resident_ids), 400):
        part = resident_ids[start : start + 400]
        query = (
            select(col(SlotRow.resident_id), col(SlotRow.collection))
            .where(col(SlotRow.resident_id).in_(part))
            .distinct()
        )
        for resident_id, name in session.execute(query):
            found.setdefault(resident_id, set()).add(name)
    return found


def record_count(session: Session) -> int:
    return int(session.scalar(select(func.count()).select_from(RecordRow)) or 0)


def delivery(session: Session, source_id: str, number: int) -> tuple[str, str] | None:
    """(digest of the delivery, answer given to it), or None when it has not arrived."""
    row = session.get(DeliveryRow, (source_id, number))
    return (row.digest, row.answer) if row else None


def put_delivery(session: Session, source_id: str, number: int, digest: str, answer: str) -> None:
    session.add(DeliveryRow(source_id=source_id, number=number, digest=digest, answer=answer))
