"""The log in the database: the only module that touches its tables. The same statements on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Table, and_, bindparam, delete, func, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel

from dataspace.audit import tables as _tables
from dataspace.audit.tree import Tile

_CHUNK = 500
"""Values in one IN list: below SQLite's and PostgreSQL's limits on parameters."""

_ALL = SQLModel.metadata.tables
_HEAD: Table = _ALL[str(_tables.LogHead.__tablename__)]
_ENTRY: Table = _ALL[str(_tables.LogEntry.__tablename__)]
_BODY: Table = _ALL[str(_tables.LogBody.__tablename__)]
_CHAIN: Table = _ALL[str(_tables.LogChain.__tablename__)]
_TILE: Table = _ALL[str(_tables.LogTile.__tablename__)]
_CHECKPOINT: Table = _ALL[str(_tables.LogCheckpoint.__tablename__)]
_COSIGNATURE: Table = _ALL[str(_tables.LogCosignature.__tablename__)]

# Every append runs these four: building them anew each time would cost as much as running them.
_LOCK_CHAINS = (
    select(_CHAIN)
    .where(_CHAIN.c.subject.in_(bindparam("subjects", expanding=True)))
    .order_by(_CHAIN.c.subject)
    .with_for_update()
)
_ADD_ENTRY = _ENTRY.insert()
_ADD_BODY = _BODY.insert()
_MOVE_CHAIN = (
    update(_CHAIN).where(_CHAIN.c.subject == bindparam("of")).values(number=bindparam("to"), leaf_hash=bindparam("tip"))
)

NOBODY = ""
"""The stored subject of an entry about nobody."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class EntryRow:
    """A new, pending entry."""

    id: str
    leaf_hash: bytes
    kind: str
    at: int
    subject: str
    number: int | None
    sealed: bytes


@dataclass(frozen=True)
class ChainHead:
    """Newest number of a resident's chain, and its leaf hash (None before number 1)."""

    number: int
    leaf_hash: bytes | None


@dataclass(frozen=True)
class Pending:
    """An entry that waits for its index."""

    id: str
    leaf_hash: bytes
    subject: str
    number: int | None


@dataclass(frozen=True)
class Located:
    """A numbered entry; ``sealed`` is None once its body is erased."""

    leaf_hash: bytes
    entry_index: int
    sealed: bytes | None


@dataclass(frozen=True)
class Audited:
    """A numbered entry as stored, with what stands at the place of its predecessor in the chain."""

    leaf_hash: bytes
    entry_index: int
    kind: str
    at: int
    subject: str
    number: int | None
    sealed: bytes | None
    previous_hash: bytes | None
    previous_index: int | None


def lock_chains(session: Session, subjects: Iterable[str]) -> dict[str, ChainHead]:
    """Chain heads, locked until the transaction ends; in one order for all, so that writers cannot deadlock."""
    wanted = sorted(set(subjects))
    found: dict[str, ChainHead] = {}
    for chunk in _chunks(wanted):
        found |= _locked(session, chunk)
        missing = [subject for subject in chunk if subject not in found]
        if missing:
            rows = [{"subject": subject, "number": 0, "leaf_hash": None} for subject in missing]
            session.execute(_insert(session, _CHAIN).on_conflict_do_nothing(), rows)
            found |= _locked(session, missing)
    return found


def _locked(session: Session, subjects: Sequence[str]) -> dict[str, ChainHead]:
    rows = session.connection().execute(_LOCK_CHAINS, {"subjects": subjects})
    return {row.subject: ChainHead(row.number, row.leaf_hash) for row in rows}


def insert_entries(session: Session, rows: Sequence[EntryRow], heads: Mapping[str, ChainHead]) -> None:
    """Pending entries, their bodies, and the moved chain heads."""
    entries = [
        {"id": r.id, "leaf_hash": r.leaf_hash, "kind": r.kind, "at": r.at, "subject": r.subject, "number": r.number}
        for r in rows
    ]
    bodies = [{"subject": r.subject, "leaf_hash": r.leaf_hash, "sealed": r.sealed} for r in rows]
    connection = session.connection()
    connection.execute(_ADD_ENTRY, entries)
    connection.execute(_ADD_BODY, bodies)
    if heads:
        moved = [{"of": subject, "to": head.number, "tip": head.leaf_hash} for subject, head in heads.items()]
        connection.execute(_MOVE_CHAIN, moved)


def erase_bodies(session: Session, subject: str, before: int) -> int:
    """Delete the bodies of one subject's numbered entries older than ``before``; answers how many."""
    old = select(_ENTRY.c.leaf_hash).where(
        _ENTRY.c.subject == subject, _ENTRY.c.at < before, _ENTRY.c.entry_index.is_not(None)
    )
    erased = session.connection().execute(delete(_BODY).where(_BODY.c.subject == subject, _BODY.c.leaf_hash.in_(old)))
    return int(erased.rowcount)


def lock_head(session: Session, origin: str) -> int | None:
    """Size of the numbered log, locked until the transaction ends; None for a log that was never sequenced."""
    return session.execute(select(_HEAD.c.size).where(_HEAD.c.origin == origin).with_for_update()).scalar()


def create_head(session: Session, origin: str) -> None:
    """The head of an empty log, unless another sequencer made it."""
    session.execute(_insert(session, _HEAD).on_conflict_do_nothing(), [{"origin": origin, "size": 0}])


def head_size(session: Session, origin: str) -> int | None:
    """As :func:`lock_head`, without the lock."""
    return session.execute(select(_HEAD.c.size).where(_HEAD.c.origin == origin)).scalar()


def pending(session: Session) -> list[Pending]:
    """Entries without an index, in no order."""
    query = select(_ENTRY.c.id, _ENTRY.c.leaf_hash, _ENTRY.c.subject, _ENTRY.c.number)
    return [Pending(*row) for row in session.execute(query.where(_ENTRY.c.entry_index.is_(None)))]


def number_entries(session: Session, origin: str, first: int, ids: Sequence[str]) -> None:
    """Give the entries ``ids`` the indices ``first``, ``first + 1``, … and move the head behind them."""
    change = update(_ENTRY).where(_ENTRY.c.id == bindparam("of")).values(entry_index=bindparam("to"))
    session.connection().execute(change, [{"of": item, "to": at} for at, item in enumerate(ids, first)])
    session.execute(update(_HEAD).where(_HEAD.c.origin == origin).values(size=first + len(ids)))


def unnumbered(session: Session, leaf_hashes: Iterable[bytes]) -> set[bytes]:
    """Those of ``leaf_hashes`` that have no index (or do not exist)."""
    left = set(leaf_hashes)
    for chunk in _chunks(list(left)):
        query = select(_ENTRY.c.leaf_hash).where(_ENTRY.c.leaf_hash.in_(chunk), _ENTRY.c.entry_index.is_not(None))
        left.difference_update(session.execute(query).scalars())
    return left


def load_tiles(session: Session, wanted: Iterable[Tile]) -> dict[Tile, bytes]:
    """The stored tiles among ``wanted``."""
    by_level: dict[int, list[int]] = {}
    for level, position in wanted:
        by_level.setdefault(level, []).append(position)
    found: dict[Tile, bytes] = {}
    for level, positions in by_level.items():
        for chunk in _chunks(positions):
            query = select(_TILE.c.position, _TILE.c.hashes).where(_TILE.c.level == level, _TILE.c.position.in_(chunk))
            found.update({(level, position): hashes for position, hashes in session.execute(query)})
    return found


def save_tiles(session: Session, tiles: Mapping[Tile, bytes]) -> None:
    """Insert or replace whole tiles."""
    statement = _insert(session, _TILE)
    statement = statement.on_conflict_do_update(
        index_elements=["level", "position"], set_={"hashes": statement.excluded.hashes}
    )
    rows = [{"level": level, "position": position, "hashes": data} for (level, position), data in tiles.items()]
    session.execute(statement, rows)


def count_tiles(session: Session) -> int:
    return int(session.execute(select(func.count()).select_from(_TILE)).scalar_one())


def save_checkpoint(session: Session, size: int, at: int, note: str) -> None:
    """Keep a signed checkpoint; a second one of the same size is an error of the caller (IntegrityError)."""
    session.execute(_CHECKPOINT.insert(), [{"size": size, "at": at, "note": note}])


def checkpoint_note(session: Session, size: int) -> str | None:
    """The signed checkpoint of one size, without cosignatures."""
    return session.execute(select(_CHECKPOINT.c.note).where(_CHECKPOINT.c.size == size)).scalar()


def newest_checkpoint(session: Session, cosignatures: int) -> int | None:
    """Size of the newest checkpoint that has at least so many cosignatures."""
    query = select(_CHECKPOINT.c.size).order_by(_CHECKPOINT.c.size.desc()).limit(1)
    if cosignatures:
        enough = select(_COSIGNATURE.c.size).group_by(_COSIGNATURE.c.size).having(func.count() >= cosignatures)
        query = query.where(_CHECKPOINT.c.size.in_(enough))
    return session.execute(query).scalar()


def checkpoints(session: Session) -> Iterator[tuple[int, str]]:
    """All signed checkpoints, smallest first, read in pages."""
    query = select(_CHECKPOINT.c.size, _CHECKPOINT.c.note).order_by(_CHECKPOINT.c.size).limit(_CHUNK)
    after = -1
    while page := session.execute(query.where(_CHECKPOINT.c.size > after)).all():
        yield from ((row.size, row.note) for row in page)
        after = page[-1].size


def cosignatures(session: Session) -> Iterator[tuple[int, str, str, str | None]]:
    """All cosignatures as (size, witness, line, note of the checkpoint or None), smallest first, read in pages."""
    place = tuple_(_COSIGNATURE.c.size, _COSIGNATURE.c.witness)
    query = (
        select(_COSIGNATURE.c.size, _COSIGNATURE.c.witness, _COSIGNATURE.c.line, _CHECKPOINT.c.note)
        .select_from(_COSIGNATURE)
        .outerjoin(_CHECKPOINT, _CHECKPOINT.c.size == _COSIGNATURE.c.size)
        .order_by(_COSIGNATURE.c.size, _COSIGNATURE.c.witness)
        .limit(_CHUNK)
    )
    after = (-1, "")
    while page := session.execute(query.where(place > after)).all():
        yield from ((row.size, row.witness, row.line, row.note) for row in page)
        after = (page[-1].size, page[-1].witness)


def cosignature_lines(session: Session, size: int) -> list[tuple[str, str]]:
    """(witness name, signature line) under the checkpoint of one size."""
    query = select(_COSIGNATURE.c.witness, _COSIGNATURE.c.line).where(_COSIGNATURE.c.size == size)
    return [(row.witness, row.line) for row in session.execute(query.order_by(_COSIGNATURE.c.witness))]


def cosigned_size(session: Session, witness: str) -> int:
    """The largest size this witness has cosigned; 0 if none."""
    query = select(func.max(_COSIGNATURE.c.size)).where(_COSIGNATURE.c.witness == witness)
    return int(session.execute(query).scalar() or 0)


def save_cosignature(session: Session, size: int, witness: str, line: str) -> None:
    """Keep a cosignature; a newer one of the same witness and size replaces it."""
    statement = _insert(session, _COSIGNATURE)
    statement = statement.on_conflict_do_update(
        index_elements=["size", "witness"], set_={"line": statement.excluded.line}
    )
    session.execute(statement, [{"size": size, "witness": witness, "line": line}])


def locate(session: Session, leaf_hashes: Sequence[bytes], below: int) -> dict[bytes, Located]:
    """Entries by leaf hash among the first ``below`` of the log, with their sealed bodies."""
    found: dict[bytes, Located] = {}
    for chunk in _chunks(leaf_hashes):
        query = _with_bodies().where(_ENTRY.c.leaf_hash.in_(chunk), _ENTRY.c.entry_index < below)
        found |= {row.leaf_hash: Located(*row) for row in session.execute(query)}
    return found


def chain_entries(session: Session, subject: str, after: int, limit: int, below: int) -> list[Located]:
    """A resident's entries numbered above ``after``, in order, among the first ``below`` of the log."""
    query = _with_bodies().where(_ENTRY.c.subject == subject, _ENTRY.c.number > after, _ENTRY.c.entry_index < below)
    return [Located(*row) for row in session.execute(query.order_by(_ENTRY.c.number).limit(limit))]


def snapshot(session: Session) -> None:
    """Let all reads of this session see one moment, while the log goes on. SQLite does so by itself."""
    if session.get_bind().dialect.name == "postgresql":
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


def audited(session: Session) -> Iterator[Audited]:
    """All numbered entries in the order of the log, read in pages."""
    before = _ENTRY.alias("before")
    after = -1
    query = (
        select(
            *(_ENTRY.c[name] for name in ("leaf_hash", "entry_index", "kind", "at", "subject", "number")),
            _BODY.c.sealed,
            before.c.leaf_hash.label("previous_hash"),
            before.c.entry_index.label("previous_index"),
        )
        .select_from(_ENTRY)
        .outerjoin(_BODY, _of_entry())
        .outerjoin(before, and_(before.c.subject == _ENTRY.c.subject, before.c.number == _ENTRY.c.number - 1))
        .order_by(_ENTRY.c.entry_index)
        .limit(2 * _CHUNK)
    )
    while page := [Audited(*row) for row in session.execute(query.where(_ENTRY.c.entry_index > after))]:
        yield from page
        after = page[-1].entry_index


def count_chains(session: Session) -> int:
    return int(session.execute(select(func.count()).select_from(_CHAIN)).scalar_one())


def broken_chain_heads(session: Session) -> int:
    """How many chains do not end with the entry that their head names, or go on behind it."""
    newest = select(_ENTRY.c.subject, func.max(_ENTRY.c.number).label("number")).group_by(_ENTRY.c.subject).subquery()
    head = and_(_ENTRY.c.subject == _CHAIN.c.subject, _ENTRY.c.number == _CHAIN.c.number)
    query = (
        select(func.count())
        .select_from(_CHAIN)
        .outerjoin(newest, newest.c.subject == _CHAIN.c.subject)
        .outerjoin(_ENTRY, head)
        .where(
            or_(
                newest.c.number.is_(None),
                newest.c.number != _CHAIN.c.number,
                _ENTRY.c.leaf_hash.is_(None),
                _ENTRY.c.leaf_hash != _CHAIN.c.leaf_hash,
            )
        )
    )
    return int(session.execute(query).scalar_one())


def _with_bodies() -> Any:
    """Select of Located: numbered entries with their bodies, if still there."""
    return (
        select(_ENTRY.c.leaf_hash, _ENTRY.c.entry_index, _BODY.c.sealed)
        .select_from(_ENTRY)
        .outerjoin(_BODY, _of_entry())
    )


def _of_entry() -> Any:
    return and_(_BODY.c.subject == _ENTRY.c.subject, _BODY.c.leaf_hash == _ENTRY.c.leaf_hash)


def _insert(session: Session, table: Table) -> Any:
    """An INSERT that knows ON CONFLICT, in the dialect of this session."""
    return (sqlite if session.get_bind().dialect.name == "sqlite" else postgresql).insert(table)


def _chunks(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
