"""The node's memory of what it has released: for "the same question, the same answer" and against differencing.

A run goes ``propose`` → (the result leaves, the broker records it) → ``commit``. The proposal is durable before
anything leaves, and decided in the same transaction that reads the earlier releases, so that two runs cannot both pass
because neither saw the other. A proposal whose outcome is unknown (a crash between the two) counts as released:
it takes part in differencing, and the same product, period and grant set gets its stored table again under a new run,
byte for byte, which tells nobody anything new. So a crash loses no result and releases no second one.
``abandon`` is only for a run that the broker has refused with certainty before anything left.

At rest: the table and the digests of contributors are sealed; what lookups need are keyed digests. Contributor digests
are HMAC-SHA-256 under the node's key over source link ids; without the key they name nobody.
"""

from __future__ import annotations

import hmac
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
)
from nacl.exceptions import CryptoError
from nacl.utils import random as random_bytes

from connectors.compute.errors import ReleaseStateError
from connectors.compute.output_control import CellContributors, Released, Withheld
from connectors.compute.records import Manifest, inputs_of
from dataspace.kernel.encoding import HEADER, b64, canonical, frame, strip_header, unb64

_SCHEMA = """
CREATE TABLE IF NOT EXISTS release (
  run_id TEXT PRIMARY KEY,
  question TEXT NOT NULL UNIQUE,
  committed INTEGER NOT NULL,
  sealed BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS release_field (
  field TEXT NOT NULL,
  run_id TEXT NOT NULL REFERENCES release (run_id) ON DELETE CASCADE,
  PRIMARY KEY (field, run_id)
);
"""
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON", "busy_timeout=30000")


@dataclass(frozen=True)
class Run:
    """One run of a cohort product: what makes it the same question as another (all but ``run_id``)."""

    run_id: str
    product_digest: str
    period: str
    grant_set: str
    fields: frozenset[str]
    """What the measures are made of, as :func:`measured_fields` says: releases that share one are compared."""


@dataclass(frozen=True)
class Stored:
    """A table that may leave: the canonical bytes, and the run whose release it is."""

    run_id: str
    table: bytes
    committed: bool


def measured_fields(manifest: Manifest) -> frozenset[str]:
    """``collection.field`` of all measures, as each declares; all input fields if a measure declares none.

    A declared field must be among the manifest's inputs (otherwise it does not count as declared).
    """
    readable = {f"{one['collection']}.{field}" for one in inputs_of(manifest) for field in one["fields"]}
    measured: set[str] = set()
    for measure in manifest["output"]["measures"]:
        declared = set(measure.get("fields", ()))
        measured |= declared if declared and declared <= readable else readable
    return frozenset(measured or readable)


class ReleaseStore:
    """One SQLite file, one node key of 32 bytes. Safe for several threads and several processes."""

    def __init__(self, path: Path, key: bytes) -> None:
        if len(key) != 32:
            raise ValueError("the node's key has 32 bytes")
        self._seal_key = _subkey(key, "release-seal")
        self._contributor_key = _subkey(key, "release-contributor")
        self._lookup_key = _subkey(key, "release-lookup")
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        for pragma in _PRAGMAS:
            self._database.execute(f"PRAGMA {pragma}")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        self._database.close()

    def contributor(self, link_id: str) -> str:
        """The opaque name of a person in this store, over the source link of what is measured.

        It must be the same link in every run, or differencing takes one person for two: where somebody has several
        links for the measured collection, the caller takes the first in the order of their ids.
        """
        return self._keyed(self._contributor_key, link_id)

    def propose(
        self, run: Run, decide: Callable[[Sequence[CellContributors]], Released | Withheld]
    ) -> Stored | Withheld:
        """The stored table of the same question, or what ``decide`` makes of the earlier releases, made durable.

        ``decide`` is output control over this run's rows. Nothing may leave before this returns. ``run_id`` of the
        answer is the run to :meth:`commit`: that of the stored release where there is one.
        """
        with self._transaction():
            stored = self._find(run)
            if stored is not None:
                return stored
            outcome = decide(self._earlier(run.fields))
            if isinstance(outcome, Released):
                return self._insert(run, outcome)
            return outcome

    def commit(self, run_id: str) -> None:
        """The release is on record. Again is harmless."""
        with self._transaction():
            self._change("UPDATE release SET committed = 1 WHERE run_id = ?", run_id)

    def abandon(self, run_id: str) -> None:
        """Forget a proposal of which nothing has left and, by the broker's refusal, nothing ever will."""
        with self._transaction():
            self._change("DELETE FROM release WHERE run_id = ? AND committed = 0", run_id)

    def stored(self, run: Run) -> Stored | None:
        """The release of the same product, period and grant set, committed or of unknown outcome."""
        with self._transaction():
            return self._find(run)

    def earlier(self, fields: Iterable[str]) -> list[CellContributors]:
        """Shown cells of all releases that measure one of ``fields``; unknown outcomes count as released."""
        with self._transaction():
            return self._earlier(fields)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _find(self, run: Run) -> Stored | None:
        statement = "SELECT run_id, committed, sealed FROM release WHERE question = ?"
        found = self._database.execute(statement, (self._question(run),)).fetchone()
        if found is None:
            return None
        return Stored(found[0], unb64(self._open(found[0], found[2])["table"]), bool(found[1]))

    def _earlier(self, fields: Iterable[str]) -> list[CellContributors]:
        names = sorted({self._keyed(self._lookup_key, "field", field) for field in fields})
        statement = "SELECT run_id, sealed FROM release JOIN release_field USING (run_id) WHERE field = ?"
        found: dict[str, bytes] = {}
        for name in names:
            found.update(self._database.execute(statement, (name,)).fetchall())
        return [
            CellContributors(run_id, tuple(cell), frozenset(contributors))
            for run_id, sealed in sorted(found.items())
            for cell, contributors in self._open(run_id, sealed)["cells"]
        ]

    def _insert(self, run: Run, outcome: Released) -> Stored:
        table = canonical(dict(outcome.table))
        cells = [[list(cell), sorted(contributors)] for cell, contributors in outcome.contributors.items()]
        sealed = self._seal(run.run_id, {"table": b64(table), "cells": cells})
        statement = "INSERT INTO release (run_id, question, committed, sealed) VALUES (?, ?, 0, ?)"
        self._database.execute(statement, (run.run_id, self._question(run), sealed))
        names = [(self._keyed(self._lookup_key, "field", field), run.run_id) for field in sorted(run.fields)]
        self._database.executemany("INSERT INTO release_field (field, run_id) VALUES (?, ?)", names)
        return Stored(run.run_id, table, committed=False)

    def _change(self, statement: str, run_id: str) -> None:
        if self._database.execute(statement, (run_id,)).rowcount != 1:
            raise ReleaseStateError("no such release in this state")

    def _question(self, run: Run) -> str:
        return self._keyed(self._lookup_key, "question", run.product_digest, run.period, run.grant_set)

    def _keyed(self, key: bytes, *parts: str) -> str:
        return b64(hmac.digest(key, frame("release-name", *parts), "sha256"))

    def _seal(self, run_id: str, content: Mapping[str, Any]) -> bytes:
        nonce: bytes = random_bytes(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES)
        aad = frame("release", HEADER, run_id)
        data = json.dumps(content).encode()
        box: bytes = crypto_aead_xchacha20poly1305_ietf_encrypt(data, aad, nonce, self._seal_key)
        return HEADER + nonce + box

    def _open(self, run_id: str, sealed: bytes) -> dict[str, Any]:
        body, size = strip_header(sealed), crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
        aad = frame("release", HEADER, run_id)
        try:
            data = crypto_aead_xchacha20poly1305_ietf_decrypt(body[size:], aad, body[:size], self._seal_key)
        except (CryptoError, ValueError, TypeError) as error:
            raise ReleaseStateError("a stored release cannot be opened") from error
        content: dict[str, Any] = json.loads(data)
        return content


def _subkey(key: bytes, use: str) -> bytes:
    return hmac.digest(key, frame(use), "sha256")
