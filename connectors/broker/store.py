"""The broker's own small store: grant keys (which it promises to destroy), grants, uses, meters, runs, the tree it saw.

A database of its own, never part of the service's backups. SQLite with ``secure_delete``; after a key is destroyed the
write-ahead log is emptied too (:meth:`BrokerStore.forget_pages`), so that no file of the store still holds it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import Session

from dataspace.kernel.db import Database

metadata = MetaData()
_log = structlog.get_logger(__name__)
_TRIES = 40

_keys = Table(
    "broker_grant_keys",
    metadata,
    Column("key_id", String(64), primary_key=True),
    Column("seed", LargeBinary, nullable=True),
    Column("request_digest", String(43), nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("grant_digest", String(43), nullable=True, unique=True),
)
_grants = Table(
    "broker_grants",
    metadata,
    Column("grant_digest", String(43), primary_key=True),
    Column("key_id", String(64), nullable=False),
    Column("subject", String(43), nullable=False),
    Column("signing_key", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("uses", Integer, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)
_subjects = Table(
    "broker_subjects",
    metadata,
    Column("subject", String(43), primary_key=True),
    Column("number", Integer, nullable=False),
    Column("head", String(43), nullable=False),
    Column("signing_key", LargeBinary, nullable=False),
    Column("entry_number", Integer, nullable=False),
    Column("entry", String(43), nullable=True),
)
_withdrawn = Table(
    "broker_withdrawn_before",
    metadata,
    Column("grant_digest", String(43), primary_key=True),
    Column("token", String, primary_key=True),
)
"""Withdrawals of grants that have not (yet) arrived here: they are refused when they do."""
_uses = Table(
    "broker_uses",
    metadata,
    Column("grant_digest", String(43), primary_key=True),
    Column("request_digest", String(43), primary_key=True),
    Column("at", BigInteger, nullable=False),
)
_meter = Table(
    "broker_meter",
    metadata,
    Column("subject", String(43), primary_key=True),
    Column("operator_id", String(64), primary_key=True),
    Column("element", String(130), primary_key=True),
    Column("request_digest", String(43), primary_key=True),
    Column("millibits", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
)
_nonces = Table(
    "broker_nonces",
    metadata,
    Column("nonce", String(64), primary_key=True),
    Column("expires_at", BigInteger, nullable=False),
)
_runs = Table(
    "broker_runs",
    metadata,
    Column("request_digest", String(43), primary_key=True),
    Column("run_id", String(64), nullable=False),
    Column("grant_set", String(43), nullable=False),
    Column("node", String(43), nullable=False),
    Column("result_digest", String(43), nullable=True),
    Column("release", String, nullable=True),
)
_run_grants = Table(
    "broker_run_grants",
    metadata,
    Column("request_digest", String(43), primary_key=True),
    Column("grant_digest", String(43), primary_key=True),
)
_tree = Table(
    "broker_tree",
    metadata,
    Column("origin", String(128), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
)

_CHUNK = 500


class BrokerStore:
    """All statements of the broker. Methods take the open session, so that a caller's rules commit as one."""

    def __init__(self, database: Database) -> None:
        self.database = database
        metadata.create_all(database.engine)
        self.forget_pages()  # a crash may have come between a destroyed key and this

    def forget_pages(self) -> None:
        """Empty SQLite's write-ahead log, which may still hold pages with destroyed keys."""
        if self.database.engine.dialect.name != "sqlite":
            return
        for _ in range(_TRIES):
            with self.database.engine.connect() as connection:
                raw: Any = connection.connection.dbapi_connection
                connection.rollback()
                if not raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    return
            time.sleep(0.05)
        _log.error("destroyed_keys_may_stand_in_the_write_ahead_log")

    # grant keys

    def add_keys(self, session: Session, rows: list[dict[str, Any]]) -> None:
        session.execute(insert(_keys), rows)

    def keys(self, session: Session, key_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        return self._by(session, _keys, "key_id", key_ids)

    def bind_keys(self, session: Session, grants: Mapping[str, str]) -> None:
        """Each key (by id) belongs to one grant (by digest) from now on."""
        if grants:
            statement = (
                update(_keys).where(_keys.c.key_id == bindparam("b_key")).values(grant_digest=bindparam("b_grant"))
            )
            rows = [{"b_key": key_id, "b_grant": digest} for key_id, digest in grants.items()]
            session.connection().execute(statement, rows)

    def destroy_key(self, session: Session, key_id: str) -> None:
        session.execute(update(_keys).where(_keys.c.key_id == key_id).values(seed=None))

    def destroy_expired(self, session: Session, now: int) -> int:
        """Destroy the keys of questions that nobody answered in time and of grants whose period is over."""
        unanswered = _keys.c.grant_digest.is_(None) & (_keys.c.not_after <= now) & _keys.c.seed.is_not(None)
        destroyed = _rows(session.execute(update(_keys).where(unanswered).values(seed=None)))
        over = (_grants.c.state == "active") & (_grants.c.not_after <= now)
        return destroyed + self._end(session, over, "expired", now)

    def end_used_up(self, session: Session, request_digest: str, now: int) -> int:
        """Destroy the keys of the run's grants whose uses have all been released."""
        released = _uses.join(_runs, (_runs.c.request_digest == _uses.c.request_digest) & _runs.c.release.is_not(None))
        own = _uses.c.grant_digest == _grants.c.grant_digest
        used = select(func.count()).select_from(released).where(own).scalar_subquery()
        of_run = select(_run_grants.c.grant_digest).where(_run_grants.c.request_digest == request_digest)
        used_up = (_grants.c.state == "active") & _grants.c.grant_digest.in_(of_run) & (used >= _grants.c.uses)
        return self._end(session, used_up, "used_up", now)

    def _end(self, session: Session, which: Any, state: str, now: int) -> int:
        ended = select(_grants.c.key_id).where(which)
        destroyed = _rows(session.execute(update(_keys).where(_keys.c.key_id.in_(ended)).values(seed=None)))
        session.execute(update(_grants).where(which).values(state=state, changed_at=now))
        return destroyed

    # grants and subjects

    def grants(self, session: Session, digests: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        return self._by(session, _grants, "grant_digest", digests)

    def put_grants(self, session: Session, rows: list[dict[str, Any]]) -> None:
        self._upsert(session, _grants, rows, ["grant_digest"])

    def note_withdrawal(self, session: Session, grant_digest: str, token: str) -> None:
        """Remember what claims to be the withdrawal of a grant that is not here; whether it is, shows the signature."""
        self._upsert(session, _withdrawn, [{"grant_digest": grant_digest, "token": token}], ["grant_digest", "token"])

    def noted_withdrawals(self, session: Session, digests: Sequence[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for part in _parts(digests):
            query = select(_withdrawn.c.grant_digest, _withdrawn.c.token).where(_withdrawn.c.grant_digest.in_(part))
            for digest, token in session.execute(query):
                found.setdefault(digest, []).append(token)
        return found

    def subjects(self, session: Session, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        return self._by(session, _subjects, "subject", names)

    def put_subjects(self, session: Session, rows: list[dict[str, Any]]) -> None:
        self._upsert(session, _subjects, rows, ["subject"])

    # uses and meters

    def uses(self, session: Session, digests: Sequence[str], except_request: str) -> dict[str, int]:
        """How often each grant was used, by other requests than this one."""
        found: dict[str, int] = {}
        for part in _parts(digests):
            query = (
                select(_uses.c.grant_digest, func.count())
                .where(_uses.c.grant_digest.in_(part), _uses.c.request_digest != except_request)
                .group_by(_uses.c.grant_digest)
            )
            found.update({digest: int(number) for digest, number in session.execute(query)})
        return found

    def add_uses(self, session: Session, digests: Iterable[str], request_digest: str, at: int) -> None:
        rows = [{"grant_digest": item, "request_digest": request_digest, "at": at} for item in digests]
        self._upsert(session, _uses, rows, ["grant_digest", "request_digest"])

    def spent(
        self, session: Session, subjects: Sequence[str], operator_id: str, since: int, except_request: str
    ) -> dict[str, dict[str, int]]:
        """Millibits told to ``operator_id`` since then, by subject and data element."""
        found: dict[str, dict[str, int]] = {}
        for part in _parts(subjects):
            query = select(_meter.c.subject, _meter.c.element, func.sum(_meter.c.millibits)).where(
                _meter.c.subject.in_(part),
                _meter.c.operator_id == operator_id,
                _meter.c.at > since,
                _meter.c.request_digest != except_request,
            )
            for subject, element, bits in session.execute(query.group_by(_meter.c.subject, _meter.c.element)):
                found.setdefault(subject, {})[element] = int(bits)
        return found

    def add_meter(self, session: Session, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._upsert(session, _meter, rows, ["subject", "operator_id", "element", "request_digest"])

    # nonces, runs, tree

    def add_nonce(self, session: Session, nonce: str, expires_at: int, now: int) -> None:
        session.execute(_nonces.delete().where(_nonces.c.expires_at <= now))
        session.execute(insert(_nonces).values(nonce=nonce, expires_at=expires_at))

    def spend_nonce(self, session: Session, nonce: str, now: int) -> bool:
        """Whether the nonce was given out, has not expired and was not used; it is gone afterwards."""
        live = (_nonces.c.nonce == nonce) & (_nonces.c.expires_at > now)
        return bool(_rows(session.execute(_nonces.delete().where(live))))

    def run(self, session: Session, request_digest: str) -> Mapping[str, Any] | None:
        return self._by(session, _runs, "request_digest", [request_digest]).get(request_digest)

    def put_run(self, session: Session, row: dict[str, Any], grants: Sequence[str]) -> None:
        self._upsert(session, _runs, [row], ["request_digest"])
        session.execute(_run_grants.delete().where(_run_grants.c.request_digest == row["request_digest"]))
        session.execute(
            insert(_run_grants), [{"request_digest": row["request_digest"], "grant_digest": item} for item in grants]
        )

    def inactive_states(self, session: Session, request_digest: str) -> list[str]:
        """States of the grants of a run that are no longer active, without repetition."""
        query = (
            select(_grants.c.state)
            .select_from(_run_grants.join(_grants, _grants.c.grant_digest == _run_grants.c.grant_digest))
            .where(_run_grants.c.request_digest == request_digest, _grants.c.state != "active")
            .distinct()
        )
        return sorted(session.scalars(query))

    def record_release(self, session: Session, request_digest: str, result_digest: str, release: str) -> None:
        values = {"result_digest": result_digest, "release": release}
        session.execute(update(_runs).where(_runs.c.request_digest == request_digest).values(values))

    def tree(self, session: Session, origin: str) -> tuple[int, bytes] | None:
        row = session.execute(select(_tree.c.size, _tree.c.root).where(_tree.c.origin == origin)).first()
        return (int(row[0]), bytes(row[1])) if row else None

    def put_tree(self, session: Session, origin: str, size: int, root: bytes) -> None:
        self._upsert(session, _tree, [{"origin": origin, "size": size, "root": root}], ["origin"])

    # one way to read many rows by name, one to write them

    def _by(self, session: Session, table: Table, key: str, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        for part in _parts(names):
            rows = session.execute(select(table).where(table.c[key].in_(part))).mappings()
            found.update({row[key]: row for row in rows})
        return found

    def _upsert(self, session: Session, table: Table, rows: list[dict[str, Any]], keys: list[str]) -> None:
        if not rows:
            return
        sqlite = self.database.engine.dialect.name == "sqlite"
        statement: Any = sqlite_insert(table) if sqlite else postgresql_insert(table)
        changed = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
        if changed:
            statement = statement.on_conflict_do_update(index_elements=keys, set_=changed)
        else:
            statement = statement.on_conflict_do_nothing(index_elements=keys)
        session.execute(statement, rows)


def _rows(result: Any) -> int:
    """How many rows a statement changed."""
    return int(result.rowcount)


def _parts(names: Sequence[str]) -> Iterable[Sequence[str]]:
    for start in range(0, len(names), _CHUNK):
        yield names[start : start + _CHUNK]
