"""Writing to the log: append inside the caller's transaction, number in batches behind it.

An appended entry is *pending*: it commits with the state it describes and counts for nothing yet. The sequencer gives
all pending entries their indices, grows the tree and signs a checkpoint, in one transaction. Only then does
:meth:`Sequencer.wait` let its caller go on.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field

import structlog
from sqlmodel import Session

from dataspace.audit import store
from dataspace.audit.bodies import NONCE_BYTES, BodyKey
from dataspace.audit.errors import EntryInvalidError, LogUnavailableError
from dataspace.audit.tree import Edge, edge_tiles
from dataspace.kernel.clock import Clock
from dataspace.kernel.db import Database
from dataspace.kernel.encoding import Json, b64, canonical, unb64
from dataspace.kernel.ids import uuid7
from dataspace.kernel.jws import SigningKey
from dataspace.kernel.logproof import ENTRY_VERSION, SALT_BYTES, leaf_data
from dataspace.kernel.merkle import leaf_hash
from dataspace.kernel.note import Checkpoint, sign_checkpoint

_RESERVED = {"v", "kind", "at", "subject", "number", "previous"}
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class NewEntry:
    """What a caller wants logged; ``at`` in seconds since 1970, ``subject`` for an entry about a resident."""

    kind: str
    at: int
    fields: Mapping[str, Json]
    subject: str | None = None


@dataclass(frozen=True)
class Entry:
    """A pending entry: its name everywhere is ``leaf_hash`` (b64)."""

    leaf_hash: str
    body: bytes
    salt: bytes = field(repr=False)
    subject: str | None
    number: int | None


class AuditLog:
    """Appends entries whose bodies are sealed under ``body_key``; ``entropy(n)`` gives n random bytes."""

    def __init__(self, body_key: BodyKey, entropy: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._body_key = body_key
        self._entropy = entropy

    def append(
        self, session: Session, *, kind: str, at: int, fields: Mapping[str, Json], subject: str | None = None
    ) -> Entry:
        """Append one pending entry in the caller's open write transaction. See :meth:`append_many`."""
        return self.append_many(session, [NewEntry(kind, at, fields, subject)])[0]

    def append_many(self, session: Session, entries: Sequence[NewEntry]) -> list[Entry]:
        """Append pending entries, in order, with few statements; the chain of each subject stays locked to the end.

        Two transactions that each append several times for several subjects can deadlock on PostgreSQL: append once,
        with all entries. Raises :class:`EntryInvalidError` before anything is written.
        """
        if not entries:
            return []
        for entry in entries:
            _require_valid(entry)
        heads = store.lock_chains(session, {entry.subject for entry in entries if entry.subject is not None})
        batch = uuid7()
        made = [self._make(f"{batch}.{position:08d}", entry, heads) for position, entry in enumerate(entries)]
        store.insert_entries(session, [row for _entry, row in made], heads)
        return [entry for entry, _row in made]

    def erase_bodies(self, session: Session, subject: str, *, before: int) -> int:
        """Delete salts and bodies of a subject's numbered entries older than ``before``; the hashes stay."""
        return store.erase_bodies(session, subject, before)

    def _make(self, row_id: str, new: NewEntry, heads: dict[str, store.ChainHead]) -> tuple[Entry, store.EntryRow]:
        chained = _chain_fields(new.subject, heads)
        body = canonical({"v": ENTRY_VERSION, "kind": new.kind, "at": new.at, **new.fields, **chained})
        salt = self._entropy(SALT_BYTES)
        hashed = leaf_hash(leaf_data(salt, body))
        number = chained.get("number")
        if new.subject is not None:
            heads[new.subject] = store.ChainHead(chained["number"], hashed)
        sealed = self._body_key.seal(hashed, salt, body, self._entropy(NONCE_BYTES))
        row = store.EntryRow(row_id, hashed, new.kind, new.at, new.subject or store.NOBODY, number, sealed)
        return Entry(b64(hashed), body, salt, new.subject, number), row


def _require_valid(entry: NewEntry) -> None:
    if entry.subject == store.NOBODY or not entry.kind:
        raise EntryInvalidError("an entry has a kind, and a subject that is not empty")
    if reserved := _RESERVED & entry.fields.keys():
        raise EntryInvalidError(f"the log itself sets {', '.join(sorted(reserved))}")


def _chain_fields(subject: str | None, heads: Mapping[str, store.ChainHead]) -> dict[str, Json]:
    if subject is None:
        return {}
    head = heads[subject]
    previous = b64(head.leaf_hash) if head.leaf_hash else None
    return {"subject": subject, "number": head.number + 1, "previous": previous}


@dataclass(frozen=True)
class _Waiter:
    leaf_hashes: frozenset[bytes]
    done: Future[None] = field(default_factory=Future)


class Sequencer:
    """Numbers pending entries. Any number of processes may run one on the same database; they take turns."""

    def __init__(
        self, database: Database, log_key: SigningKey, origin: str, clock: Clock, *, poll_s: float = 1.0
    ) -> None:
        """``poll_s``: how often the thread looks for entries that nobody woke it for, and retries after a failure."""
        self._database = database
        self._log_key = log_key
        self._origin = origin
        self._clock = clock
        self._poll_s = poll_s
        self._lock = threading.Lock()
        self._waiters: list[_Waiter] = []
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None
        self._running = False
        self.failed = False
        """Whether the last attempt to sequence failed."""

    def sequence(self) -> int:
        """Number everything that is pending, in one transaction; answers how many entries that were."""
        return len(self._sequence())

    def start(self) -> None:
        """Run the thread; entries that were left pending by a crash are numbered first."""
        self._running = True
        self._woken.set()
        self._thread = threading.Thread(target=self._run, name="log-sequencer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current batch; whoever still waits gets :class:`LogUnavailableError`."""
        with self._lock:
            self._running = False
        self._woken.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._fail(self._take_waiters())

    def wake(self) -> None:
        """Tell the thread that something was committed."""
        self._woken.set()

    def numbered(self, leaf_hashes: Iterable[str]) -> Future[None]:
        """Completes when all of these *committed* entries are numbered, or fails with LogUnavailableError.

        For ``async`` callers: ``await asyncio.wrap_future(sequencer.numbered(...))``.
        """
        waiter = _Waiter(frozenset(unb64(item, size=32) for item in leaf_hashes))
        with self._lock:
            if self._running:
                self._waiters.append(waiter)
            else:
                waiter.done.set_exception(LogUnavailableError("the sequencer is not running"))
        self._woken.set()
        return waiter.done

    def wait(self, leaf_hashes: Iterable[str], timeout_s: float) -> None:
        """Block until all of these committed entries are numbered; raises :class:`LogUnavailableError`."""
        try:
            self.numbered(leaf_hashes).result(timeout_s)
        except FutureTimeoutError as error:
            raise LogUnavailableError("the log did not number the entry in time") from error

    def _run(self) -> None:
        while self._running:
            self._woken.wait(self._poll_s)
            self._woken.clear()
            waiters = self._take_waiters()
            try:
                left = self._left_after_sequencing(waiters)
            except Exception as error:  # the thread must survive whatever the database does
                self.failed = True
                _log.error("log_sequencer_failed", error=type(error).__name__)
                self._fail(waiters)
            else:
                self.failed = False
                self._fail([waiter for waiter in waiters if waiter.leaf_hashes & left])
                _complete(waiter for waiter in waiters if not waiter.leaf_hashes & left)

    def _left_after_sequencing(self, waiters: Sequence[_Waiter]) -> set[bytes]:
        """Sequence; answers awaited hashes that neither this nor another sequencer has numbered."""
        awaited: set[bytes] = set().union(*(waiter.leaf_hashes for waiter in waiters))
        awaited.difference_update(self._sequence())
        if not awaited:
            return awaited
        with self._database.read() as session:
            return store.unnumbered(session, awaited)

    def _sequence(self) -> list[bytes]:
        with self._database.write() as session:
            size = self._locked_size(session)
            batch = in_order(store.pending(session))
            if batch:
                store.number_entries(session, self._origin, size, [item.id for item in batch])
                self._grow(session, size, [item.leaf_hash for item in batch])
        return [item.leaf_hash for item in batch]

    def _locked_size(self, session: Session) -> int:
        size = store.lock_head(session, self._origin)
        if size is None:
            store.create_head(session, self._origin)
            size = store.lock_head(session, self._origin) or 0
            if store.checkpoint_note(session, 0) is None:
                self._sign(session, Edge())
        return size

    def _grow(self, session: Session, size: int, leaf_hashes: Sequence[bytes]) -> None:
        edge = Edge.load(size, store.load_tiles(session, edge_tiles(size)))
        store.save_tiles(session, edge.extend(leaf_hashes))
        self._sign(session, edge)

    def _sign(self, session: Session, edge: Edge) -> None:
        checkpoint = Checkpoint(self._origin, edge.size, edge.root())
        store.save_checkpoint(session, edge.size, self._clock(), sign_checkpoint(checkpoint, self._log_key))

    def _take_waiters(self) -> list[_Waiter]:
        with self._lock:
            taken, self._waiters = self._waiters, []
        return taken

    def _fail(self, waiters: Iterable[_Waiter]) -> None:
        for waiter in waiters:
            if waiter.done.set_running_or_notify_cancel():
                waiter.done.set_exception(LogUnavailableError("the log could not number the entry"))


def _complete(waiters: Iterable[_Waiter]) -> None:
    for waiter in waiters:
        if waiter.done.set_running_or_notify_cancel():
            waiter.done.set_result(None)


def in_order(batch: Sequence[store.Pending]) -> list[store.Pending]:
    """By id (time of appending); entries of one subject in the order of their numbers, whatever the clocks said."""
    ordered = sorted(batch, key=lambda item: item.id)
    chains: dict[str, list[store.Pending]] = {}
    for item in ordered:
        if item.number is not None:
            chains.setdefault(item.subject, []).append(item)
    queues = {subject: iter(sorted(items, key=lambda item: item.number or 0)) for subject, items in chains.items()}
    return [item if item.number is None else next(queues[item.subject]) for item in ordered]
