"""A source's own durable state: links with their pinned chains, what was sent, and the outbox. One SQLite file."""

from __future__ import annotations

import hmac
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from dataspace.kernel.encoding import b64, frame

_SCHEMA = """
CREATE TABLE IF NOT EXISTS link (
  person TEXT PRIMARY KEY, link_id TEXT NOT NULL UNIQUE, subject TEXT NOT NULL, token TEXT NOT NULL,
  statements TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS sent (
  name TEXT PRIMARY KEY, link_id TEXT NOT NULL, collection TEXT NOT NULL, sequence INTEGER NOT NULL,
  delivery INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS sent_by_link ON sent (link_id, collection);
CREATE TABLE IF NOT EXISTS outbox (number INTEGER PRIMARY KEY, body TEXT, delivered INTEGER NOT NULL);
"""
_LINK = "SELECT person, link_id, subject, token, statements FROM link"


@dataclass(frozen=True)
class LinkState:
    """``person`` is the source's own number of the person; it never leaves. ``statements``: the pinned chain."""

    person: str
    link_id: str
    subject: str
    token: str
    statements: list[str]


class SourceState:
    """Every method is one transaction. ``secret`` (32 bytes) keys the names of sent rows, which would else be digests
    of personal data."""

    def __init__(self, path: Path, secret: bytes) -> None:
        self._secret = secret
        self._one_writer = threading.RLock()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "busy_timeout=30000"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        self._database.close()

    def row_name(self, person: str, collection: str, data: bytes) -> str:
        """Keyed name of one row, to send it once."""
        return b64(hmac.digest(self._secret, frame("sent-row", person, collection, data), "sha256"))

    def add_link(self, link: LinkState) -> None:
        row = (link.person, link.link_id, link.subject, link.token, json.dumps(link.statements))
        with self._transaction():
            self._database.execute("INSERT INTO link VALUES (?, ?, ?, ?, ?)", row)

    def link_of(self, person: str) -> LinkState | None:
        return _link(self._database.execute(f"{_LINK} WHERE person = ?", (person,)).fetchone())

    def link_by_id(self, link_id: str) -> LinkState:
        found = _link(self._database.execute(f"{_LINK} WHERE link_id = ?", (link_id,)).fetchone())
        if found is None:
            raise LookupError("no such link")
        return found

    def linked_people(self) -> set[str]:
        return {row[0] for row in self._database.execute("SELECT person FROM link")}

    def set_statements(self, link_id: str, statements: Sequence[str]) -> None:
        values = (json.dumps(list(statements)), link_id)
        with self._transaction():
            self._database.execute("UPDATE link SET statements = ? WHERE link_id = ?", values)

    def sent_rows(self) -> set[str]:
        return {row[0] for row in self._database.execute("SELECT name FROM sent")}

    def free_sequences(self, link_id: str, collection: str) -> Iterator[int]:
        """Numbers that no sent row has, from 1 on: what was refused leaves no gap behind."""
        query = "SELECT sequence FROM sent WHERE link_id = ? AND collection = ?"
        used = {row[0] for row in self._database.execute(query, (link_id, collection))}
        return (number for number in count(1) if number not in used)

    def next_number(self) -> int:
        return int(self._database.execute("SELECT max(number) FROM outbox").fetchone()[0] or 0) + 1

    def enqueue(self, number: int, body: dict[str, Any], rows: Sequence[tuple[str, str, str, int]]) -> None:
        """A batch and the rows in it, together or not at all."""
        with self._transaction():
            self._database.execute("INSERT INTO outbox VALUES (?, ?, 0)", (number, json.dumps(body)))
            self._database.executemany("INSERT INTO sent VALUES (?, ?, ?, ?, ?)", [(*row, number) for row in rows])

    def outbox(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Batches that the service has not confirmed, in order."""
        query = "SELECT number FROM outbox WHERE delivered = 0 ORDER BY number"
        for (number,) in self._database.execute(query).fetchall():
            body = self._database.execute("SELECT body FROM outbox WHERE number = ?", (number,)).fetchone()[0]
            yield number, json.loads(body)

    def delivered(self, number: int, again: Sequence[tuple[str, str]]) -> None:
        """Confirmed: its bytes are dropped. Rows of (link, collection) in ``again`` count as not sent."""
        with self._transaction():
            self._database.execute("UPDATE outbox SET body = NULL, delivered = 1 WHERE number = ?", (number,))
            statement = "DELETE FROM sent WHERE delivery = ? AND link_id = ? AND collection = ?"
            self._database.executemany(statement, [(number, *place) for place in again])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._one_writer:  # threads share the connection, and must not share a transaction
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")


def _link(row: tuple[str, str, str, str, str] | None) -> LinkState | None:
    return LinkState(row[0], row[1], row[2], row[3], json.loads(row[4])) if row else None
