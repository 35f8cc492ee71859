"""What somebody holds who has copied folders of an installation: files, databases, every secret in them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consent.model import Grant
from dataspace.kernel.encoding import b64, unb64
from dataspace.kernel.errors import DataspaceError
from vault.envelope import SlotContext, open_record, open_slot, record_key
from vault.granting import GrantKeyContext, open_grant_key
from vault.suite1 import OpeningKey


@dataclass(frozen=True)
class SealedGrant:
    """A grant as the service keeps it: signed by its resident, with the keys sealed for the broker."""

    digest: str
    subject: str
    broker_key: str
    keys: tuple[tuple[GrantKeyContext, bytes], ...]


@dataclass(frozen=True)
class StoredRecord:
    subject: str
    record_id: str
    place: SlotContext
    slot: bytes
    sealed: bytes


def copy_of(folder: Path, target: Path) -> Path:
    """The folder with its databases as they lie on the disk, write-ahead logs included."""
    return Path(shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*-shm")))  # SQLite makes it anew


class Loot:
    """Copies of folders, opened for reading only."""

    def __init__(self, *folders: Path) -> None:
        self.folders = folders
        self.databases = [path for folder in folders for path in sorted(folder.rglob("*.db"))]

    def rows(self, name: str, query: str) -> list[tuple[Any, ...]]:
        """Rows of the database ``name``."""
        path = next(path for path in self.databases if path.name == name)
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()

    def grants(self) -> dict[str, SealedGrant]:
        """By digest; only those whose sealed keys are still there."""
        found = {}
        for token, sealed in self.rows("dataspace.db", "SELECT token, sealed FROM grants"):
            content = Grant.claimed(token)
            digest = content.grant.digest()
            contexts = [GrantKeyContext(digest, k.collection, k.epoch_key, k.kind, k.slot) for k in content.sealed]
            keys = tuple(zip(contexts, [unb64(item) for item in json.loads(sealed)], strict=False))
            if keys:
                found[digest] = SealedGrant(digest, content.grant.subject, content.grant.broker_key, keys)
        return found

    def records(self) -> list[StoredRecord]:
        query = (
            "SELECT i.subject, r.record_id, s.slot_id, s.collection, s.epoch_key, s.source_id, s.sealed, r.sealed "
            "FROM vault_records r JOIN vault_slots s USING (resident_id, slot_id) JOIN residents i USING (resident_id)"
        )
        return [
            StoredRecord(row[0], row[1], SlotContext(*row[2:6]), row[6], row[7])
            for row in self.rows("dataspace.db", query)
        ]

    def secrets(self) -> set[bytes]:
        """Everything of 32 bytes: in files, in columns, and in base64 in text columns."""
        found: set[bytes] = set()
        for folder in self.folders:
            found |= {path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.stat().st_size == 32}
        for value in self._values():
            if isinstance(value, bytes) and len(value) == 32:
                found.add(value)
            elif isinstance(value, str) and len(value) == 43:
                with suppress(DataspaceError):
                    found.add(unb64(value, size=32))
        return found

    def _values(self) -> Iterator[object]:
        for path in self.databases:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                    for row in database.execute(f'SELECT * FROM "{table}"'):  # noqa: S608
                        yield from row

    def holds(self, secret: bytes) -> list[str]:
        """Names of files in which ``secret`` stands: byte for byte, in base64url or in hexadecimal."""
        spellings = (secret, b64(secret).encode(), secret.hex().encode())
        files = [path for folder in self.folders for path in folder.rglob("*") if path.is_file()]
        return [path.name for path in files if any(item in path.read_bytes() for item in spellings)]


def opened_slot_keys(secrets: Iterable[bytes], records: Iterable[StoredRecord]) -> dict[StoredRecord, bytes]:
    """Records that open with one of ``secrets``, taken as an epoch's seed or as a slot key."""
    raw = list(secrets)
    keys = [OpeningKey(secret) for secret in raw]
    of_slot: dict[str, list[bytes]] = {}
    found = {}
    for record in records:
        if record.place.slot_id not in of_slot:
            of_slot[record.place.slot_id] = [*raw, *_opened(keys, record)]
        for candidate in of_slot[record.place.slot_id]:
            with suppress(DataspaceError):
                open_record(record_key(candidate, record.record_id), record.record_id, record.place, record.sealed)
                found[record] = candidate
    return found


def _opened(keys: Iterable[OpeningKey], record: StoredRecord) -> Iterator[bytes]:
    for key in keys:
        with suppress(DataspaceError):
            yield open_slot(key, record.place, record.slot)


def opened_grant_keys(secrets: Iterable[bytes], grants: Iterable[SealedGrant]) -> dict[GrantKeyContext, bytes]:
    """What one of ``secrets`` opens of the keys that were sealed for the broker."""
    found = {}
    keys = [OpeningKey(secret) for secret in secrets]
    for grant in grants:
        for context, sealed in grant.keys:
            for key in keys:
                with suppress(DataspaceError):
                    found[context] = open_grant_key(key, context, sealed)
    return found
