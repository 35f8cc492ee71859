"""Databases: SQLite in one file by default, PostgreSQL by its URL. The same statements run on both."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session


def open_engine(url: str) -> Engine:
    """Engine for ``sqlite:///path`` or ``postgresql+psycopg://...``; SQLite gets durable, erasing settings."""
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, pool_size=8)
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})
    event.listen(engine, "connect", _durable_sqlite)
    event.listen(engine, "begin", _take_write_lock_first)
    return engine


def _durable_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # SQLAlchemy's "begin" event decides when a transaction starts
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}")


def _take_write_lock_first(connection: Any) -> None:
    """A reading transaction that later writes would fail with SQLITE_BUSY instead of waiting: lock at the start."""
    options = connection.get_execution_options()
    connection.exec_driver_sql("BEGIN" if options.get("read_only") else "BEGIN IMMEDIATE")


def insert_new(session: Session, table: Table, rows: Sequence[dict[str, Any]]) -> int:
    """Insert rows whose primary key is free, and answer how many; waits for writers of the same keys."""
    if not rows:
        return 0
    session.flush()
    statement = _insert(session, table).on_conflict_do_nothing()
    kept = {"preserve_rowcount": True}
    return int(session.connection().execute(statement, list(rows), execution_options=kept).rowcount)


def upsert(session: Session, table: Table, row: dict[str, Any], *, keep: Sequence[str] = ()) -> None:
    """Insert a row, or change the one with its primary key; columns in ``keep`` are only set by the insert."""
    session.flush()
    statement = _insert(session, table)
    keys = [column.name for column in table.primary_key]
    changed = {name: statement.excluded[name] for name in row if name not in {*keys, *keep}}
    session.connection().execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), [row])
    session.expire_all()  # objects of this session that were read before would show the old row


def _insert(session: Session, table: Table) -> Any:
    """An INSERT that knows ON CONFLICT, in the dialect of this session."""
    return (sqlite if session.get_bind().dialect.name == "sqlite" else postgresql).insert(table)


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


class Database:
    """Sessions on one engine. ``write`` commits at its end or leaves nothing; ``read`` never blocks a writer."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._reader = engine.execution_options(read_only=True)
        # SQLite has one writer: threads queue here instead of polling its lock
        self._one_writer = threading.Lock() if engine.dialect.name == "sqlite" else nullcontext()

    @contextmanager
    def write(self) -> Iterator[Session]:
        with self._one_writer, Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        with Session(self._reader, expire_on_commit=False) as session:
            yield session

    def close(self) -> None:
        self.engine.dispose()
