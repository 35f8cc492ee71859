from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError

from dataspace.audit import log as log_module
from dataspace.audit import store, witness
from dataspace.audit.bodies import BodyKey
from dataspace.audit.cosign import Cosigner, WitnessClient
from dataspace.audit.errors import (
    EntryErasedError,
    EntryInvalidError,
    EntryUnknownError,
    LogCorruptError,
    LogUnavailableError,
    WitnessRefusedError,
    WitnessStateError,
    WitnessUnavailableError,
)
from dataspace.audit.log import AuditLog, NewEntry, Sequencer, in_order
from dataspace.audit.proofs import Prover
from dataspace.audit.verify import Report, verify_log
from dataspace.audit.witness import Answer, Memory, Witness, create_witness
from dataspace.kernel.db import Database
from dataspace.kernel.encoding import b64, unb64
from dataspace.kernel.errors import MalformedError
from dataspace.kernel.jws import SigningKey
from dataspace.kernel.logproof import open_entry, verify_entry, verify_subject_chain
from dataspace.kernel.merkle import EMPTY_ROOT, ProofInvalidError, verify_consistency
from dataspace.kernel.note import Checkpoint, cosign, parse_checkpoint, sign_checkpoint, verify_checkpoint

NOW = 1_760_000_000
ORIGIN = "log.example.cn/1"
LOG_KEY = SigningKey(bytes([1]) * 32)
BODY_KEY = BodyKey(bytes([2]) * 32)
LOG = AuditLog(BODY_KEY)
WITNESS_NAME = "witness.example.org"


def clock() -> int:
    return NOW


def sequencer_of(database: Database, **more: Any) -> Sequencer:
    return Sequencer(database, LOG_KEY, ORIGIN, clock, **more)


def fill(database: Database, count: int, *subjects: str | None) -> list[str]:
    """Append and number ``count`` entries, taking the subjects in turn."""
    new = [NewEntry("link.registered", NOW, {"n": n}, subjects[n % len(subjects)]) for n in range(count)]
    with database.write() as session:
        made = LOG.append_many(session, new)
    sequencer_of(database).sequence()
    return [entry.leaf_hash for entry in made]


def checked(database: Database, text_: str) -> Checkpoint:
    return verify_checkpoint(text_, LOG_KEY.public, ORIGIN, {}, 0)


def audit(database: Database, witnesses: dict[str, bytes] | None = None) -> Report:
    return verify_log(database, LOG_KEY.public, ORIGIN, BODY_KEY, witnesses or {})


@pytest.fixture
def running(database: Database) -> Iterator[Sequencer]:
    sequencer = sequencer_of(database, poll_s=0.05)
    sequencer.start()
    yield sequencer
    sequencer.stop()


# Appending and numbering


def test_an_entry_counts_only_once_numbered(database: Database) -> None:
    sequencer, prover = sequencer_of(database), Prover(database, BODY_KEY)
    assert sequencer.sequence() == 0
    with database.write() as session:
        entry = LOG.append(session, kind="grant.recorded", at=NOW, fields={"grant_digest": "g"}, subject="anna")
    with pytest.raises(EntryUnknownError):
        prover.bundle([entry.leaf_hash], 0)
    assert sequencer.sequence() == 1
    checkpoint = checked(database, prover.checkpoint())
    body = verify_entry(prover.bundle([entry.leaf_hash], 1)[0], checkpoint)
    assert body == {
        "v": 1, "kind": "grant.recorded", "at": NOW, "grant_digest": "g",
        "subject": "anna", "number": 1, "previous": None,
    }  # fmt: skip
    assert (entry.subject, entry.number) == ("anna", 1)
    assert "salt" not in repr(entry)


def test_entries_about_nobody_have_no_chain(database: Database) -> None:
    hashes = fill(database, 2, None)
    prover = Prover(database, BODY_KEY)
    body = verify_entry(prover.bundle(hashes, 2)[1], checked(database, prover.checkpoint()))
    assert body == {"v": 1, "kind": "link.registered", "at": NOW, "n": 1}


def test_rolled_back_entries_leave_no_gap(database: Database) -> None:
    with database.write() as session:
        LOG.append(session, kind="x", at=NOW, fields={}, subject="anna")
        session.rollback()
    with database.write() as session:
        assert LOG.append(session, kind="x", at=NOW, fields={}, subject="anna").number == 1
        assert LOG.append(session, kind="x", at=NOW, fields={}, subject="anna").number == 2
        assert LOG.append_many(session, []) == []
    sequencer_of(database).sequence()
    assert audit(database).problems == []


@pytest.mark.parametrize("name", ["v", "kind", "at", "subject", "number", "previous"])
def test_callers_cannot_set_what_the_log_sets(database: Database, name: str) -> None:
    with pytest.raises(EntryInvalidError), database.write() as session:
        LOG.append(session, kind="x", at=NOW, fields={name: "x"})


def test_other_bad_entries(database: Database) -> None:
    for new in (NewEntry("", NOW, {}), NewEntry("x", NOW, {}, "")):
        with pytest.raises(EntryInvalidError), database.write() as session:
            LOG.append_many(session, [new])
    with pytest.raises(MalformedError), database.write() as session:
        LOG.append(session, kind="x", at=NOW, fields={"amount": 1.5})


def test_many_writers_make_gapless_chains(database: Database, running: Sequencer) -> None:
    subjects = ["anna", "bo", "chen"]

    def write(number: int) -> None:
        with database.write() as session:
            entry = LOG.append(session, kind="use.decided", at=NOW, fields={"n": number}, subject=subjects[number % 3])
        running.wait([entry.leaf_hash], 30)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(60)))
    prover = Prover(database, BODY_KEY)
    checkpoint = checked(database, prover.checkpoint())
    for subject in subjects:
        assert len(verify_subject_chain(prover.entries_of(subject, 0, 100), checkpoint, subject)) == 20
    report = audit(database)
    assert (report.entries, report.subjects, report.problems) == (60, 3, [])


def test_two_sequencers_take_turns(database: Database) -> None:
    sequencers = [sequencer_of(database, poll_s=0.01) for _ in range(2)]
    for sequencer in sequencers:
        sequencer.start()
    for number in range(20):
        with database.write() as session:
            entry = LOG.append(session, kind="x", at=NOW, fields={}, subject=f"s{number % 4}")
        sequencers[number % 2].wait([entry.leaf_hash], 30)
    for sequencer in sequencers:
        sequencer.stop()
    assert audit(database).problems == []


def test_order_of_a_batch() -> None:
    def item(id_: str, subject: str, number: int | None) -> store.Pending:
        return store.Pending(id_, b"", subject, number)

    late, early = item("1", "anna", 2), item("2", "anna", 1)  # clocks of two processes disagree
    other, nobody = item("0", "bo", 1), item("3", "", None)
    assert in_order([nobody, late, early, other]) == [other, early, late, nobody]


def test_chains_are_numbered_in_order_whatever_the_clocks_say(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = iter(["3", "1", "2"])
    monkeypatch.setattr(log_module, "uuid7", lambda: next(ids))
    for _entry in range(3):
        with database.write() as session:
            LOG.append(session, kind="x", at=NOW, fields={}, subject="anna")
    sequencer_of(database).sequence()
    assert audit(database).problems == []


# Waiting


def test_a_pending_entry_is_not_numbered(database: Database) -> None:
    numbered = [unb64(item) for item in fill(database, 2, "anna")]
    with database.write() as session:
        entry = LOG.append(session, kind="x", at=NOW, fields={})
        waiting = {unb64(entry.leaf_hash), bytes(32)}
        assert store.unnumbered(session, [*numbered, *waiting]) == waiting


def test_waiting_without_a_running_sequencer(database: Database) -> None:
    with pytest.raises(LogUnavailableError, match="not running"):
        sequencer_of(database).wait([b64(bytes(32))], 1)


def test_waiting_for_an_entry_that_was_never_committed(running: Sequencer) -> None:
    with pytest.raises(LogUnavailableError):
        running.wait([b64(bytes(32))], 10)


def test_waiting_for_what_another_process_numbered(database: Database, running: Sequencer) -> None:
    running.wait(fill(database, 3, None), 10)


def test_pending_entries_of_a_crash_are_numbered_at_the_start(database: Database) -> None:
    with database.write() as session:
        LOG.append(session, kind="x", at=NOW, fields={})
    sequencer = sequencer_of(database, poll_s=60)
    sequencer.start()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with database.read() as session:
            if store.head_size(session, ORIGIN) == 1:
                break
        time.sleep(0.01)
    sequencer.stop()
    assert audit(database).entries == 1


def test_timeout_and_stop(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    sequencer = sequencer_of(database)
    release = threading.Event()
    real = sequencer._sequence

    def slow() -> list[bytes]:
        release.wait(20)
        return real()

    monkeypatch.setattr(sequencer, "_sequence", slow)
    sequencer.start()
    with database.write() as session:
        entry = LOG.append(session, kind="x", at=NOW, fields={})
    with pytest.raises(LogUnavailableError, match="in time"):
        sequencer.wait([entry.leaf_hash], 0.05)
    late = sequencer.numbered([entry.leaf_hash])
    cancelled = sequencer.numbered([entry.leaf_hash])
    assert cancelled.cancel()
    release.set()
    late.result(20)
    sequencer.stop()
    sequencer.stop()


def test_cancelled_waiters_of_a_failed_round(database: Database) -> None:
    sequencer = sequencer_of(database)
    sequencer._running = True
    assert sequencer.numbered([b64(bytes(32))]).cancel()
    left = sequencer.numbered([b64(bytes(32))])
    sequencer.stop()
    with pytest.raises(LogUnavailableError):
        left.result(0)


def test_a_failing_database_fails_waiters_and_nothing_else(
    database: Database, running: Sequencer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object) -> int:
        raise OperationalError("SELECT", {}, Exception("disk full"))

    with database.write() as session:
        entry = LOG.append(session, kind="x", at=NOW, fields={})
    with monkeypatch.context() as broken_database:
        broken_database.setattr(log_module.store, "lock_head", broken)
        with pytest.raises(LogUnavailableError):
            running.wait([entry.leaf_hash], 20)
        assert running.failed
    running.wake()
    running.wait([entry.leaf_hash], 20)
    assert not running.failed


def test_nothing_is_numbered_without_its_checkpoint(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(database, 3, None)
    with database.write() as session:
        LOG.append(session, kind="x", at=NOW, fields={})

    def broken(*_args: object) -> None:
        raise OperationalError("INSERT", {}, Exception("disk full"))

    with monkeypatch.context() as failing:
        failing.setattr(log_module.store, "save_checkpoint", broken)
        with pytest.raises(OperationalError):
            sequencer_of(database).sequence()
    assert audit(database).entries == 3
    assert sequencer_of(database).sequence() == 1
    assert audit(database).problems == []


def test_a_second_checkpoint_of_one_size_cannot_be_stored(database: Database) -> None:
    fill(database, 1, None)
    with pytest.raises(IntegrityError), database.write() as session:
        store.save_checkpoint(session, 1, NOW, "another")


# Proofs


def test_large_log_in_uneven_batches(database: Database) -> None:
    prover = Prover(database, BODY_KEY)
    sizes, hashes = [], []
    for count in (1, 254, 1, 1, 300, 2000):
        hashes += fill(database, count, "anna", None, "bo")
        sizes.append(prover.size())
    checkpoint = checked(database, prover.checkpoint())
    assert checkpoint.size == len(hashes) == 2557
    bundles = prover.bundle(hashes[:2000], 2557)
    assert [open_entry(item, checkpoint).leaf_hash for item in bundles] == hashes[:2000]
    old = checked(database, prover.bundle(hashes[:1], 257)[0]["checkpoint"])
    verify_entry(prover.bundle(hashes[200:201], 257)[0], old)
    for size in sizes:
        before = parse_checkpoint(prover.bundle(hashes[:1], size)[0]["checkpoint"])
        proof = [unb64(item) for item in prover.consistency(size, 2557)]
        verify_consistency(size, 2557, proof, before.root, checkpoint.root)
    assert audit(database).problems == []


def test_entries_of_a_resident_in_pages(database: Database) -> None:
    fill(database, 20, "anna", "bo")
    prover = Prover(database, BODY_KEY)
    checkpoint = checked(database, prover.checkpoint())
    first = verify_subject_chain(prover.entries_of("anna", 0, 4), checkpoint, "anna")
    rest = verify_subject_chain(
        prover.entries_of("anna", 4, 100), checkpoint, "anna", from_number=5, previous=first[-1].leaf_hash
    )
    assert [item.body["number"] for item in rest] == [5, 6, 7, 8, 9, 10]
    fill(database, 4, "anna")
    assert len(prover.entries_of("anna", 0, 100, size=20)) == 10
    assert prover.entries_of("nobody-yet", 0, 100) == []


def test_questions_without_an_answer(database: Database) -> None:
    prover = Prover(database, BODY_KEY)
    with pytest.raises(LogUnavailableError):
        prover.checkpoint()
    hashes = fill(database, 3, None)
    with pytest.raises(LogUnavailableError):
        prover.checkpoint(cosignatures=1)
    with pytest.raises(EntryUnknownError):
        prover.bundle([b64(bytes(32))], 3)
    with pytest.raises(EntryUnknownError):
        prover.bundle(hashes, 2)
    with pytest.raises(EntryUnknownError, match="never signed"):
        prover.bundle(hashes[:1], 2)
    for sizes in ((2, 1), (1, 4), (-1, 2)):
        with pytest.raises(ProofInvalidError):
            prover.consistency(*sizes)
    assert prover.consistency(0, 3) == []


def test_erased_bodies_leave_a_log_that_verifies(database: Database) -> None:
    hashes = fill(database, 6, "anna", "bo")
    with database.write() as session:
        assert LOG.erase_bodies(session, "anna", before=NOW) == 0
        assert LOG.erase_bodies(session, "anna", before=NOW + 1) == 3
    prover = Prover(database, BODY_KEY)
    with pytest.raises(EntryErasedError):
        prover.bundle(hashes, 6)
    assert len(prover.bundle(hashes[1::2], 6)) == 3
    report = audit(database)
    assert (report.erased, report.problems) == (3, [])


def test_bodies_are_sealed_at_rest(database: Database) -> None:
    with database.write() as session:
        entry = LOG.append(session, kind="x", at=NOW, fields={"secret": "needle"}, subject="anna")
        sealed: bytes = session.connection().execute(text("SELECT sealed FROM log_body")).scalar_one()
    leaf = unb64(entry.leaf_hash)
    assert b"needle" not in sealed
    assert BODY_KEY.open(leaf, sealed) == (entry.salt, entry.body)
    for wrong in (sealed[:-1], sealed[:20], b"\2" + sealed[1:], sealed[:-1] + bytes([sealed[-1] ^ 1])):
        with pytest.raises(LogCorruptError):
            BODY_KEY.open(leaf, wrong)
    with pytest.raises(LogCorruptError):
        BODY_KEY.open(bytes(32), sealed)
    with pytest.raises(LogCorruptError):
        BodyKey(bytes(32)).open(leaf, sealed)
    with pytest.raises(MalformedError):
        BodyKey(bytes(31))
    assert repr(BODY_KEY) == "BodyKey()"


# What the auditor finds


def tamper(database: Database, *statements: str) -> list[str]:
    """Change the database behind the log's back; answers what the auditor says about it."""
    assert audit(database).problems == []
    with database.write() as session:
        for statement in statements:
            session.connection().execute(text(statement))
    return audit(database).problems


def reseal(database: Database, index: int, change: Callable[[bytes], bytes], *, rehash: bool = False) -> None:
    """What an administrator who has the body key can do: rewrite a body, with or without its hash."""
    with database.write() as session:
        connection = session.connection()
        row = connection.execute(
            text("SELECT e.leaf_hash, b.sealed FROM log_entry e JOIN log_body b ON b.leaf_hash = e.leaf_hash"
                 " WHERE e.entry_index = :index"), {"index": index}
        ).one()  # fmt: skip
        old = bytes(row.leaf_hash)
        salt, body = BODY_KEY.open(old, bytes(row.sealed))
        body = change(body)
        new = log_module.leaf_hash(log_module.leaf_data(salt, body)) if rehash else old
        values = {"new": new, "old": old, "sealed": BODY_KEY.seal(new, salt, body, bytes(24))}
        connection.execute(
            text("UPDATE log_body SET sealed = :sealed, leaf_hash = :new WHERE leaf_hash = :old"), values
        )
        connection.execute(text("UPDATE log_entry SET leaf_hash = :new WHERE leaf_hash = :old"), values)


@pytest.fixture
def filled(database: Database) -> Database:
    fill(database, 600, "anna", "bo", None)
    fill(database, 30, "anna")
    return database


def swap_n(body: bytes) -> bytes:
    return body.replace(b'"n":', b'"m":')


def test_rewritten_body(filled: Database) -> None:
    reseal(filled, 6, swap_n)
    problems = audit(filled).problems
    assert "entry 6: body and hash do not belong together" in problems
    assert "tile 0/0 differs from the entries" in problems


def test_rewritten_body_and_hash(filled: Database) -> None:
    reseal(filled, 6, swap_n, rehash=True)
    assert audit(filled).problems == [
        "entry 9: another entry stands before it in its chain",
        "tile 0/0 differs from the entries",
        "checkpoint 600: the entries have another root",
        "checkpoint 630: the entries have another root",
        "tile 1/0 differs from the entries",
    ]


def test_rewritten_body_of_nobody_in_the_unfinished_tile(filled: Database) -> None:
    reseal(filled, 599, swap_n, rehash=True)
    assert audit(filled).problems == [
        "checkpoint 600: the entries have another root",
        "checkpoint 630: the entries have another root",
        "tile 0/2 differs from the entries",
    ]


def test_body_that_is_no_entry(filled: Database) -> None:
    reseal(filled, 6, lambda body: body.replace(b'"v":1', b'"v":9'))
    assert "entry 6: the body is not an entry (unknown_format)" in audit(filled).problems


def test_body_of_another_entry(filled: Database) -> None:
    moved = "UPDATE log_body SET sealed = (SELECT b.sealed FROM log_body b JOIN log_entry e"
    moved += " ON e.leaf_hash = b.leaf_hash WHERE e.entry_index = 0)"
    moved += " WHERE leaf_hash = (SELECT leaf_hash FROM log_entry WHERE entry_index = 5)"
    assert tamper(filled, moved) == ["entry 5: the body was changed"]


def test_changed_search_columns(filled: Database) -> None:
    changed = "UPDATE log_entry SET kind = 'other' WHERE entry_index = 5"
    assert tamper(filled, changed) == ["entry 5: the search columns differ from the body"]


def test_removed_entry(filled: Database) -> None:
    problems = tamper(filled, "DELETE FROM log_entry WHERE entry_index = 3")
    assert "entry 3 is missing: the next one stored is 4" in problems
    assert "entry 6: the entry before it in its chain is missing" in problems
    assert "the head of the log names another size" in problems


def test_removed_newest_entries(filled: Database) -> None:
    problems = tamper(filled, "DELETE FROM log_entry WHERE entry_index >= 600")
    assert "a checkpoint of size 630 was signed, but the log has 600 entries" in problems
    assert "1 chains do not end with the newest entry of their resident" in problems


def test_removed_newest_entries_with_their_checkpoint(filled: Database) -> None:
    problems = tamper(
        filled,
        "DELETE FROM log_entry WHERE entry_index >= 600",
        "DELETE FROM log_checkpoint WHERE size = 630",
        "UPDATE log_head SET size = 600",
    )
    assert problems == [
        "tile 0/2 differs from the entries",
        "1 chains do not end with the newest entry of their resident",
    ]


def test_changed_chain_head(filled: Database) -> None:
    expected = ["1 chains do not end with the newest entry of their resident"]
    assert tamper(filled, "UPDATE log_chain SET number = number - 1 WHERE subject = 'bo'") == expected


def test_changed_hash(filled: Database) -> None:
    other = "UPDATE log_entry SET leaf_hash = (SELECT substr(hashes, 1, 32) FROM log_tile WHERE level = 1)"
    problems = tamper(filled, other + " WHERE entry_index = 2")
    assert "tile 0/0 differs from the entries" in problems


def test_changed_tile(filled: Database) -> None:
    moved = "UPDATE log_tile SET hashes = (SELECT t.hashes FROM log_tile t WHERE t.level = 0 AND t.position = 1)"
    assert tamper(filled, moved + " WHERE level = 0 AND position = 0") == ["tile 0/0 differs from the entries"]


def test_more_tiles_than_entries(filled: Database) -> None:
    more = "INSERT INTO log_tile SELECT 7, 0, hashes FROM log_tile WHERE level = 1"
    assert tamper(filled, more) == ["there are more or fewer tiles than the entries need"]


def test_reordered_entries(filled: Database) -> None:
    problems = tamper(
        filled,
        "UPDATE log_entry SET entry_index = -1 WHERE entry_index = 0",
        "UPDATE log_entry SET entry_index = 0 WHERE entry_index = 3",
        "UPDATE log_entry SET entry_index = 3 WHERE entry_index = -1",
    )
    assert "entry 0: it stands before its predecessor" in problems
    assert "tile 0/0 differs from the entries" in problems


def test_entry_whose_predecessor_has_no_index(filled: Database) -> None:
    problems = tamper(filled, "UPDATE log_entry SET entry_index = NULL WHERE entry_index = 0")
    assert "entry 3: it stands before its predecessor" in problems


def test_changed_and_missing_checkpoints(filled: Database) -> None:
    changed = "UPDATE log_checkpoint SET note = replace(note, '600', '601') WHERE size = 600"
    assert tamper(filled, changed) == ["checkpoint 600: the signature does not verify"]
    with filled.write() as session:
        session.connection().execute(text("DELETE FROM log_checkpoint WHERE size = 630"))
    assert "the newest entries stand under no checkpoint" in audit(filled).problems


def test_no_more_than_a_hundred_problems(filled: Database) -> None:
    assert len(tamper(filled, "UPDATE log_entry SET kind = 'other'")) == 100


def test_a_log_that_was_never_started(database: Database) -> None:
    report = audit(database)
    assert (report.size, report.root) == (0, b64(EMPTY_ROOT))
    assert report.problems == ["the newest entries stand under no checkpoint", "the head of the log names another size"]


# Witnesses


class InProcess(httpx.BaseTransport):
    """Speaks to a witness's rules without a socket."""

    def __init__(self, judge: Witness) -> None:
        self.judge = judge
        self.requests: list[bytes] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request.read())
        answer = self.judge.add_checkpoint(self.requests[-1])
        return httpx.Response(answer.status, text=answer.text, headers={"content-type": answer.media_type})


def witness_in(home: Path) -> tuple[InProcess, Memory]:
    memory = Memory(home, lambda count: bytes([9]) * count)
    return InProcess(Witness(memory, ORIGIN, LOG_KEY.public, WITNESS_NAME, clock)), memory


def client_of(transport: httpx.BaseTransport, key: bytes, name: str = WITNESS_NAME) -> WitnessClient:
    return WitnessClient(httpx.Client(transport=transport, base_url="http://witness"), name, key)


def test_cosigned_checkpoints(database: Database, tmp_path: Path) -> None:
    transport, memory = witness_in(tmp_path / "witness")
    cosigner = Cosigner(database, [client_of(transport, memory.key.public)])
    prover = Prover(database, BODY_KEY)
    with pytest.raises(LogUnavailableError):
        cosigner.cosign_now()
    keys = {WITNESS_NAME: memory.key.public}
    for count in (3, 300, 1):
        fill(database, count, "anna", None)
        cosigner.cosign_now()
        cosigner.cosign_now()
        checkpoint = verify_checkpoint(prover.checkpoint(cosignatures=1), LOG_KEY.public, ORIGIN, keys, 1)
        assert memory.read() == (checkpoint.size, checkpoint.root)
    assert len(transport.requests) == 3
    fill(database, 1, None)
    assert (prover.size(), prover.size(cosignatures=1)) == (305, 304)
    assert audit(database, keys).problems == []
    assert audit(database, {WITNESS_NAME: LOG_KEY.public}).problems[0] == (
        f"checkpoint 3: the cosignature of {WITNESS_NAME} does not verify"
    )
    with database.write() as session:
        store.save_cosignature(session, 7, WITNESS_NAME, "stray")
    assert f"checkpoint 7: the cosignature of {WITNESS_NAME} does not verify" in audit(database, keys).problems


def test_a_lost_answer_is_asked_for_again(database: Database, tmp_path: Path) -> None:
    transport, memory = witness_in(tmp_path / "witness")
    fill(database, 5, None)
    cosigner = Cosigner(database, [client_of(transport, memory.key.public)])
    cosigner.cosign_now()
    with database.write() as session:
        session.connection().execute(text("DELETE FROM log_cosignature"))
    cosigner.cosign_now()
    fill(database, 5, None)
    with database.write() as session:
        session.connection().execute(text("DELETE FROM log_cosignature"))
    cosigner.cosign_now()
    assert Prover(database, BODY_KEY).size(cosignatures=1) == 10


def test_one_witness_that_fails_stops_no_other(database: Database, tmp_path: Path) -> None:
    def refuse(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    transport, memory = witness_in(tmp_path / "witness")
    fill(database, 5, None)
    clients = [
        client_of(httpx.MockTransport(refuse), bytes(32), "down.example"),
        client_of(transport, memory.key.public),
        client_of(httpx.MockTransport(lambda _request: httpx.Response(422)), bytes(32), "angry.example"),
    ]
    with pytest.raises(WitnessRefusedError):
        Cosigner(database, clients).cosign_now()
    assert Prover(database, BODY_KEY).size(cosignatures=1) == 5


def conflict(content: str) -> httpx.Response:
    return httpx.Response(409, text=content, headers={"content-type": "text/x.tlog.size"})


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(500), WitnessUnavailableError),
        (httpx.Response(409, text="3\n"), WitnessUnavailableError),
        (conflict("three\n"), WitnessUnavailableError),
        (conflict("0\n"), WitnessRefusedError),
        (conflict("6\n"), WitnessRefusedError),
        (conflict("2\n"), WitnessRefusedError),  # and again "2" to the proof from 2
        (httpx.Response(200, text=""), WitnessUnavailableError),
        (httpx.Response(200, text="no signature\n"), WitnessUnavailableError),
        (httpx.Response(200, text=cosign("x\n", "other.example", LOG_KEY, NOW)), WitnessUnavailableError),
        (httpx.Response(200, text=cosign("x\n", WITNESS_NAME, LOG_KEY, NOW)), WitnessUnavailableError),
    ],
)
def test_answers_of_bad_witnesses(database: Database, answer: httpx.Response, error: type[Exception]) -> None:
    fill(database, 5, None)
    client = client_of(httpx.MockTransport(lambda _request: answer), LOG_KEY.public)
    with pytest.raises(error):
        Cosigner(database, [client]).cosign_now()


def test_a_witness_that_keeps_naming_other_sizes(database: Database) -> None:
    fill(database, 5, None)
    answers = iter([conflict("2\n"), conflict("3\n"), conflict("4\n")])
    client = client_of(httpx.MockTransport(lambda _request: next(answers)), LOG_KEY.public)
    with pytest.raises(WitnessUnavailableError, match="other sizes"):
        Cosigner(database, [client]).cosign_now()


EMPTY = sign_checkpoint(Checkpoint(ORIGIN, 0, EMPTY_ROOT), LOG_KEY)
ONE = sign_checkpoint(Checkpoint(ORIGIN, 1, bytes(32)), LOG_KEY)
LINE = "A" * 43 + "="


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"", 400),
        (b"\xff", 400),
        (b"old 0\n\n", 400),
        (f"old 00\n\n{ONE}".encode(), 400),
        (f"old 0\nnot base64\n\n{ONE}".encode(), 400),
        (("old 0\n" + f"{LINE}\n" * 64 + f"\n{ONE}").encode(), 400),
        (f"old 2\n\n{ONE}".encode(), 400),
        (f"old 0\n\n{sign_checkpoint(Checkpoint('other.example', 1, bytes(32)), LOG_KEY)}".encode(), 404),
        (b"old 0\n\n" + ONE.replace("\n1\n", "\n2\n").encode(), 403),
        (f"old 0\n\n{sign_checkpoint(Checkpoint(ORIGIN, 1, bytes(32)), SigningKey(bytes(32)))}".encode(), 403),
        (f"old 1\n\n{ONE}".encode(), 409),
        (b"old 0\n\n" + sign_checkpoint(Checkpoint(ORIGIN, 0, bytes(32)), LOG_KEY).encode(), 409),
        (f"old 0\n{LINE}\n\n{ONE}".encode(), 422),
        (f"old 0\n\n{EMPTY}".encode(), 200),
        (f"old 0\n\n{ONE}".encode(), 200),
    ],
)
def test_rules_of_the_witness(tmp_path: Path, request_: bytes, status: int) -> None:
    transport, memory = witness_in(tmp_path)
    assert transport.judge.add_checkpoint(request_).status == status
    assert memory.read()[0] == (1 if request_.endswith(ONE.encode()) and status == 200 else 0)


def test_memory_survives_and_cannot_be_lost(tmp_path: Path) -> None:
    transport, memory = witness_in(tmp_path)
    assert transport.judge.add_checkpoint(f"old 0\n\n{ONE}".encode()).status == 200
    again, other = witness_in(tmp_path)
    assert other.key.public == memory.key.public
    assert again.judge.add_checkpoint(f"old 0\n\n{ONE}".encode()) == Answer(409, "1\n", "text/x.tlog.size")
    key = (tmp_path / "witness.key").read_bytes()
    (tmp_path / "witness.key").unlink()
    with pytest.raises(WitnessStateError, match="lost its key"):
        witness_in(tmp_path)
    (tmp_path / "witness.key").write_bytes(key)
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(WitnessStateError, match="lost its memory"):
        witness_in(tmp_path)


def test_memory_is_written_before_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transport, memory = witness_in(tmp_path)
    order: list[str] = []
    real = memory.remember

    def remember(size: int, root: bytes) -> None:
        real(size, root)
        order.append("remembered")

    def signed(*arguments: Any) -> str:
        order.append("signed")
        return cosign(*arguments)

    monkeypatch.setattr(memory, "remember", remember)
    monkeypatch.setattr(witness, "cosign", signed)
    transport.judge.add_checkpoint(f"old 0\n\n{ONE}".encode())
    assert order == ["remembered", "signed"]
    assert not list(tmp_path.glob("*.new"))


def test_crash_between_memory_and_key(tmp_path: Path) -> None:
    witness_in(tmp_path)
    (tmp_path / "witness.key").unlink()
    assert witness_in(tmp_path)[1].read() == (0, EMPTY_ROOT)


def test_the_witness_over_http(tmp_path: Path) -> None:
    app = create_witness(tmp_path, ORIGIN, LOG_KEY.public, WITNESS_NAME, clock)

    async def talk() -> tuple[dict[str, Any], list[httpx.Response]]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://witness") as client:
            about = (await client.get("/about")).json()
            first = await client.post("/add-checkpoint", content=f"old 0\n\n{ONE}")
            other = await client.post("/add-checkpoint", content=f"old 0\n\n{ONE}")
            return about, [first, other, await client.post("/add-checkpoint", content=b"x" * 70000)]

    about, answers = asyncio.run(talk())
    assert [answer.status_code for answer in answers] == [200, 409, 400]
    assert answers[1].headers["content-type"].startswith("text/x.tlog.size")
    key = unb64(about["key"])
    verify_checkpoint(ONE + answers[0].text, LOG_KEY.public, ORIGIN, {WITNESS_NAME: key}, 1)
    assert "protects against nothing" in about["notice"]["en"]
    assert "不提供任何保护" in about["notice"]["zh"]
    assert about["vkey"].startswith(WITNESS_NAME + "+")


@pytest.mark.parametrize(
    ("where", "expected"),
    [(["--uds", "/run/w.sock"], {"uds": "/run/w.sock"}), (["--port", "4711"], {"host": "127.0.0.1", "port": 4711})],
)
def test_the_witness_as_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: list[str], expected: dict[str, Any]
) -> None:
    started: list[dict[str, Any]] = []
    monkeypatch.setattr(witness.uvicorn, "run", lambda _app, **options: started.append(options))
    common = ["--home", str(tmp_path), "--name", WITNESS_NAME, "--origin", ORIGIN, "--log-key"]
    witness.main([*common, b64(LOG_KEY.public), *where])
    assert started == [expected | {"log_level": "warning"}]
    with pytest.raises(MalformedError):
        witness.main([*common, "AAAA", *where])
