"""The auditor's check of a whole log: everything stored is computed again from salts and bodies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlmodel import Session

from dataspace.audit import store
from dataspace.audit.bodies import BodyKey
from dataspace.audit.errors import LogCorruptError
from dataspace.audit.tree import Edge, Tile
from dataspace.kernel.db import Database
from dataspace.kernel.encoding import Json, b64
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.logproof import leaf_data, parse_entry_body
from dataspace.kernel.merkle import leaf_hash
from dataspace.kernel.note import COSIGNATURE_V1, key_id, parse_note, parse_signature_line
from dataspace.kernel.note import verify_checkpoint as _verify_checkpoint
from dataspace.kernel.note import verify_cosignature as _verify_cosignature

MAX_PROBLEMS = 100


@dataclass(frozen=True)
class Report:
    """What was found. ``problems`` name entries by index only, never a person, and end after 100."""

    size: int
    root: str
    entries: int
    subjects: int
    erased: int
    problems: list[str]


def verify_log(
    database: Database, log_key: bytes, origin: str, body_key: BodyKey, witnesses: Mapping[str, bytes]
) -> Report:
    """Recompute leaves, tiles, tree and chains of one moment; check every checkpoint and cosignature.

    Memory does not grow with the log. What this cannot see, because everything stored fits together: a log that was
    put back to an earlier state, or rewritten with the log key. A witness of another organisation sees both.
    """
    with database.read() as session:
        store.snapshot(session)
        return _Audit(session, log_key, origin, body_key, witnesses).report()


class _Audit:
    def __init__(
        self, session: Session, log_key: bytes, origin: str, body_key: BodyKey, witnesses: Mapping[str, bytes]
    ) -> None:
        self._session = session
        self._log_key = log_key
        self._origin = origin
        self._body_key = body_key
        self._witnesses = witnesses
        self._edge = Edge()
        self._next = 0
        self._tiles = 0
        self._erased = 0
        self._problems: list[str] = []

    def report(self) -> Report:
        notes = _Peekable(store.checkpoints(self._session))
        self._check_checkpoints(notes)
        for entry in store.audited(self._session):
            self._check_entry(entry)
            self._check_checkpoints(notes)
        if notes.head is not None:
            self._problem(f"a checkpoint of size {notes.head[0]} was signed, but the log has {self._edge.size} entries")
        self._check_end(notes.last_size)
        self._check_cosignatures()
        if broken := store.broken_chain_heads(self._session):
            self._problem(f"{broken} chains do not end with the newest entry of their resident")
        return Report(
            self._edge.size,
            b64(self._edge.root()),
            self._edge.size,
            store.count_chains(self._session),
            self._erased,
            self._problems,
        )

    def _problem(self, sentence: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(sentence)

    def _check_entry(self, entry: store.Audited) -> None:
        if entry.entry_index != self._next:
            self._problem(f"entry {self._next} is missing: the next one stored is {entry.entry_index}")
        self._next = entry.entry_index + 1
        self._compare_tiles(self._edge.add(self._recomputed_leaf(entry)))

    def _recomputed_leaf(self, entry: store.Audited) -> bytes:
        """The leaf hash of what is stored; for an erased body, the stored hash."""
        at = f"entry {entry.entry_index}"
        if entry.sealed is None:
            self._erased += 1
            return entry.leaf_hash
        try:
            salt, body = self._body_key.open(entry.leaf_hash, entry.sealed)
            hashed = leaf_hash(leaf_data(salt, body))
            self._check_body(at, entry, parse_entry_body(body))
        except LogCorruptError:
            self._problem(f"{at}: the body was changed")
            return entry.leaf_hash
        except DataspaceError as error:
            self._problem(f"{at}: the body is not an entry ({error.code})")
            return entry.leaf_hash
        if hashed != entry.leaf_hash:
            self._problem(f"{at}: body and hash do not belong together")
        return hashed

    def _check_body(self, at: str, entry: store.Audited, body: Mapping[str, Json]) -> None:
        stored = (entry.kind, entry.at, entry.subject, entry.number)
        if stored != (body["kind"], body["at"], body.get("subject", store.NOBODY), body.get("number")):
            self._problem(f"{at}: the search columns differ from the body")
        previous = body.get("previous")
        if previous is None:
            return
        if entry.previous_hash is None:
            self._problem(f"{at}: the entry before it in its chain is missing")
        elif b64(entry.previous_hash) != previous:
            self._problem(f"{at}: another entry stands before it in its chain")
        elif entry.previous_index is None or entry.previous_index >= entry.entry_index:
            self._problem(f"{at}: it stands before its predecessor")

    def _compare_tiles(self, computed: Mapping[Tile, bytes]) -> None:
        stored = store.load_tiles(self._session, computed)
        for tile, hashes in computed.items():
            self._tiles += 1
            if stored.get(tile) != hashes:
                self._problem(f"tile {tile[0]}/{tile[1]} differs from the entries")

    def _check_checkpoints(self, notes: _Peekable) -> None:
        while notes.head is not None and notes.head[0] == self._edge.size:
            size, note = notes.head
            notes.advance()
            try:
                checkpoint = _verify_checkpoint(note, self._log_key, self._origin, {}, 0)
            except DataspaceError as error:
                self._problem(f"checkpoint {size}: {error.detail}")
                continue
            if (checkpoint.size, checkpoint.root) != (size, self._edge.root()):
                self._problem(f"checkpoint {size}: the entries have another root")

    def _check_end(self, last_checkpoint: int | None) -> None:
        self._compare_tiles(self._edge.tiles())
        if store.count_tiles(self._session) != self._tiles:
            self._problem("there are more or fewer tiles than the entries need")
        if last_checkpoint != self._edge.size:
            self._problem("the newest entries stand under no checkpoint")
        if store.head_size(self._session, self._origin) != self._edge.size:
            self._problem("the head of the log names another size")

    def _check_cosignatures(self) -> None:
        for size, witness, line, note in store.cosignatures(self._session):
            try:
                self._check_cosignature(witness, line, note or "")
            except DataspaceError:
                self._problem(f"checkpoint {size}: the cosignature of {witness} does not verify")

    def _check_cosignature(self, witness: str, line: str, note: str) -> None:
        body, _signatures = parse_note(note)
        signature = parse_signature_line(line)
        key = self._witnesses.get(witness, b"")
        if (signature.name, signature.key_id) != (witness, key_id(witness, COSIGNATURE_V1, key)):
            raise LogCorruptError("not a signature of a known witness")
        _verify_cosignature(body, signature, key)


class _Peekable:
    """Checkpoints in order, with a look at the next one."""

    def __init__(self, source: Iterator[tuple[int, str]]) -> None:
        self._source = source
        self.head = next(source, None)
        self.last_size: int | None = None

    def advance(self) -> None:
        self.last_size = self.head and self.head[0]
        self.head = next(self._source, None)
