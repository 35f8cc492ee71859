"""The one place that reads and writes the tables of identity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Table, delete, select
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, SQLModel, col

from dataspace.identity.errors import ConflictError, UnknownError
from dataspace.identity.tables import (
    HandleRow,
    LinkNameRow,
    LinkRow,
    OperatorRow,
    ResidentRow,
    SourceRow,
    StatementRow,
    SubjectRow,
)
from dataspace.kernel.db import insert_new, upsert
from dataspace.kernel.ids import random_id, uuid7

_ALL = SQLModel.metadata.tables
_LINK_NAMES: Table = _ALL[str(LinkNameRow.__tablename__)]
_SOURCES: Table = _ALL[str(SourceRow.__tablename__)]
_OPERATORS: Table = _ALL[str(OperatorRow.__tablename__)]


@dataclass(frozen=True)
class Resident:
    """``resident_id`` never leaves the service; ``subject`` is the fingerprint of the resident's first key."""

    resident_id: str
    subject: str
    space: str
    level: int


@dataclass(frozen=True)
class Link:
    source_id: str
    link_id: str
    resident_id: str


def add_resident(session: Session, subject: str, space: str, statement: str, now: int) -> Resident:
    """A new resident with the first statement of the chain; a subject is registered once."""
    if session.get(SubjectRow, subject) is not None:
        raise ConflictError("this key is already registered", code="already_registered")
    resident = Resident(uuid7(), subject, space, 1)
    session.add(ResidentRow(resident_id=resident.resident_id, subject=subject, space=space, level=1, created_at=now))
    session.add(SubjectRow(subject=subject, resident_id=resident.resident_id))
    session.add(StatementRow(resident_id=resident.resident_id, number=1, token=statement))
    try:
        session.flush()
    except IntegrityError as error:  # another writer has registered the key since we looked
        raise ConflictError("this key is already registered", code="already_registered") from error
    return resident


def resident_of(session: Session, subject: str) -> Resident:
    name = session.get(SubjectRow, subject)
    if name is None:
        raise UnknownError("no such resident")
    row = session.get_one(ResidentRow, name.resident_id)
    return Resident(row.resident_id, row.subject, row.space, row.level)


def lock_resident(session: Session, subject: str) -> Resident:
    """As :func:`resident_of`; other writers of this resident's decisions and keys wait until the transaction ends."""
    resident = resident_of(session, subject)
    session.execute(
        select(col(ResidentRow.resident_id))
        .where(col(ResidentRow.resident_id) == resident.resident_id)
        .with_for_update()
    )
    return resident


def residents_of_space(session: Session, space: str) -> list[Resident]:
    rows = session.scalars(
        select(ResidentRow).where(col(ResidentRow.space) == space).order_by(col(ResidentRow.resident_id))
    )
    return [Resident(row.resident_id, row.subject, row.space, row.level) for row in rows]


def subjects_of(session: Session, resident_ids: Sequence[str]) -> dict[str, str]:
    """Subject of each resident id."""
    found: dict[str, str] = {}
    for start in range(0, len(resident_ids), 500):
        part = resident_ids[start : start + 500]
        rows = session.execute(
            select(col(ResidentRow.resident_id), col(ResidentRow.subject)).where(col(ResidentRow.resident_id).in_(part))
        )
        found.update((resident_id, subject) for resident_id, subject in rows)
    return found


def statements_of(session: Session, resident_id: str) -> list[str]:
    """The whole signed chain, oldest first."""
    query = (
        select(col(StatementRow.token))
        .where(col(StatementRow.resident_id) == resident_id)
        .order_by(col(StatementRow.number))
    )
    return list(session.scalars(query))


def add_statement(session: Session, resident_id: str, number: int, token: str) -> None:
    session.add(StatementRow(resident_id=resident_id, number=number, token=token))


def add_links(session: Session, resident_id: str, links: Iterable[tuple[str, str, str]]) -> list[str]:
    """Store (source_id, link_id, signed link) of one resident; answers the sources of those that were new."""
    added: list[str] = []
    for source_id, link_id, token in links:
        name = {"source_id": source_id, "link_id": link_id, "resident_id": resident_id}
        if insert_new(session, _LINK_NAMES, [name]):
            session.add(LinkRow(resident_id=resident_id, link_id=link_id, source_id=source_id, token=token))
            added.append(source_id)
        elif session.get_one(LinkNameRow, (source_id, link_id)).resident_id != resident_id:
            raise ConflictError("this link belongs to another resident", code="link_taken")
    return added


def links_by_name(session: Session, source_id: str, link_ids: Sequence[str]) -> dict[str, Link]:
    found: dict[str, Link] = {}
    for start in range(0, len(link_ids), 500):
        part = link_ids[start : start + 500]
        query = select(LinkNameRow).where(col(LinkNameRow.source_id) == source_id, col(LinkNameRow.link_id).in_(part))
        found.update({row.link_id: Link(source_id, row.link_id, row.resident_id) for row in session.scalars(query)})
    return found


def put_source(session: Session, source_id: str, token: str) -> None:
    upsert(session, _SOURCES, {"source_id": source_id, "token": token})


def lock_source(session: Session, source_id: str) -> str | None:
    """The signed registration; other deliveries of this source wait until the transaction ends."""
    query = select(col(SourceRow.token)).where(col(SourceRow.source_id) == source_id).with_for_update()
    return session.scalar(query)


def sources(session: Session) -> dict[str, str]:
    """Signed registrations by source id."""
    return {row.source_id: row.token for row in session.scalars(select(SourceRow))}


def put_operator(session: Session, operator_id: str, licence: str) -> None:
    """A new or renewed licence; a suspension stays until an administrator lifts it."""
    row = {"operator_id": operator_id, "status": "active", "licence": licence}
    upsert(session, _OPERATORS, row, keep=["status"])


def set_operator_status(session: Session, operator_id: str, status: str) -> None:
    row = session.get(OperatorRow, operator_id)
    if row is None:
        raise UnknownError("no such operator")
    row.status = status
    session.add(row)


def operator(session: Session, operator_id: str) -> tuple[str, str] | None:
    """(licence token, status), or None."""
    row = session.get(OperatorRow, operator_id)
    return (row.licence, row.status) if row else None


def new_handle(session: Session, resident_id: str, operator_id: str, expires_at: int) -> str:
    """A random name for one resident towards one operator, good once."""
    handle = random_id()
    session.add(HandleRow(handle=handle, operator_id=operator_id, resident_id=resident_id, expires_at=expires_at))
    return handle


def take_handle(session: Session, handle: str, operator_id: str, now: int) -> str | None:
    """The resident behind a handle; it is spent. None for any handle that is not this operator's to use now."""
    spent = delete(HandleRow).where(
        col(HandleRow.handle) == handle, col(HandleRow.operator_id) == operator_id, col(HandleRow.expires_at) > now
    )
    return session.scalar(spent.returning(col(HandleRow.resident_id)))
