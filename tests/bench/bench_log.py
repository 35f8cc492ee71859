"""What the log costs: entries that callers wait for, against plain inserts with the same durability.

Both sides are 64 threads, one transaction and one commit per caller, on the same SQLite settings (WAL,
synchronous=FULL), in turns so that a slow disk hits both. Figures, never pass or fail.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import Column, Integer, LargeBinary, MetaData, String, Table
from sqlmodel import SQLModel

from dataspace.audit.bodies import BodyKey
from dataspace.audit.log import AuditLog, NewEntry, Sequencer
from dataspace.audit.proofs import Prover
from dataspace.kernel.clock import system_clock
from dataspace.kernel.db import Database, open_engine, sqlite_url
from dataspace.kernel.ids import uuid7
from dataspace.kernel.jws import SigningKey

CALLERS = 64
PER_CALLER = 8
ROUNDS = 3
BATCH = 2000
_PAD = "x" * 78  # makes a body of 214 bytes
_PLAIN_METADATA = MetaData()
_PLAIN = Table(
    "plain_entry",
    _PLAIN_METADATA,
    Column("id", String, primary_key=True),
    Column("subject", String, nullable=False),
    Column("number", Integer),
    Column("body", LargeBinary, nullable=False),
)


def run() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(open_engine(sqlite_url(Path(folder) / "log.sqlite")))
        SQLModel.metadata.create_all(database.engine)
        _PLAIN_METADATA.create_all(database.engine)
        log = AuditLog(BodyKey(bytes(32)))
        sequencer = Sequencer(database, SigningKey(bytes(32)), "bench.example/1", system_clock)
        sequencer.start()
        lines = _callers(database, log, sequencer) + _batches(database, log, sequencer)
        sequencer.stop()
        database.close()
    return lines


def _callers(database: Database, log: AuditLog, sequencer: Sequencer) -> list[str]:
    def logged(caller: int) -> None:
        with database.write() as session:
            entry = log.append(session, kind="use.decided", at=0, fields={"pad": _PAD}, subject=f"resident-{caller}")
        sequencer.wait([entry.leaf_hash], 60)

    def plain(caller: int) -> None:
        row = {"id": uuid7(), "subject": f"resident-{caller}", "number": 1, "body": bytes(214)}
        with database.write() as session:
            session.execute(_PLAIN.insert(), [row])

    def held(caller: int) -> None:
        with database.write() as session:
            log.append(session, kind="use.decided", at=0, fields={"pad": _PAD}, subject=f"resident-{caller}")

    rates: dict[str, list[float]] = {"logged": [], "plain": [], "held": []}
    for _round in range(ROUNDS):
        rates["plain"].append(_rate(plain))
        rates["logged"].append(_rate(logged))
        rates["held"].append(_rate(held))
    median = {name: statistics.median(values) for name, values in rates.items()}
    return [
        f"log: {CALLERS} callers, append and wait until numbered: {median['logged']:,.0f} entries/s",
        f"log: {CALLERS} callers, append without waiting: {median['held']:,.0f} entries/s",
        f"log: {CALLERS} callers, plain insert and commit: {median['plain']:,.0f} rows/s",
        f"log: ratio {median['logged'] / median['plain']:.2f} (target >= 0.6)",
    ]


def _rate(call: Callable[[int], None]) -> float:
    start = time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as pool:
        for _result in pool.map(lambda caller: [call(caller) for _ in range(PER_CALLER)], range(CALLERS)):
            pass
    return CALLERS * PER_CALLER / (time.perf_counter() - start)


def _batches(database: Database, log: AuditLog, sequencer: Sequencer) -> list[str]:
    new = [NewEntry("use.decided", 0, {"pad": _PAD}, f"cohort-{number}") for number in range(BATCH)]
    start = time.perf_counter()
    with database.write() as session:
        made = log.append_many(session, new)
        appended = time.perf_counter()
    committed = time.perf_counter()
    sequencer.wait([entry.leaf_hash for entry in made], 60)
    numbered = time.perf_counter()
    prover = Prover(database, BodyKey(bytes(32)))
    prover.bundle([entry.leaf_hash for entry in made], prover.size())
    proven = time.perf_counter()
    return [
        f"log: {BATCH} entries in one transaction: {BATCH / (appended - start):,.0f} entries/s, "
        f"commit {(committed - appended) * 1000:.1f} ms, numbered after {(numbered - committed) * 1000:.0f} ms",
        f"log: {BATCH} proof bundles: {(proven - numbered) * 1000:.0f} ms",
    ]


if __name__ == "__main__":
    print("\n".join(run()))
