"""Promise 6: whoever runs the log can neither hide, change, fork nor take back an entry without being noticed.

The attacker here is the operator itself: it has the log key, the body key and the database. What it does not have is
the resident's memory of an earlier checkpoint, and the witness of another organisation.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlmodel import SQLModel

from dataspace.audit.bodies import BodyKey
from dataspace.audit.cosign import Cosigner, WitnessClient
from dataspace.audit.errors import WitnessRefusedError
from dataspace.audit.log import AuditLog, Sequencer
from dataspace.audit.proofs import Prover
from dataspace.audit.verify import verify_log
from dataspace.audit.witness import NOTICE, Memory, Witness
from dataspace.kernel.db import Database, open_engine, sqlite_url
from dataspace.kernel.encoding import Json, b64, canonical, parse_canonical, unb64
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.jws import SigningKey
from dataspace.kernel.logproof import LogGapError, verify_subject_chain
from dataspace.kernel.merkle import ProofInvalidError, verify_consistency
from dataspace.kernel.note import Checkpoint, WitnessMissingError, parse_checkpoint, verify_checkpoint

NOW = 1_760_000_000
ORIGIN = "log.example.cn/1"
LOG_KEY = SigningKey(bytes([1]) * 32)
BODY_KEY = BodyKey(bytes([2]) * 32)
WITNESS_NAME = "witness.example.org"
ANNA = "anna"


class Operator:
    """One database of the log, and everything its operator can do with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open()

    def _open(self) -> None:
        self.database = Database(open_engine(sqlite_url(self.path)))
        SQLModel.metadata.create_all(self.database.engine)
        self.prover = Prover(self.database, BODY_KEY)

    def log(self, *words: str, subject: str = ANNA) -> list[str]:
        """Append and number entries; answers their leaf hashes."""
        with self.database.write() as session:
            made = [
                AuditLog(BODY_KEY).append(session, kind="use.decided", at=NOW, fields={"word": word}, subject=subject)
                for word in words
            ]
        Sequencer(self.database, LOG_KEY, ORIGIN, lambda: NOW).sequence()
        return [entry.leaf_hash for entry in made]

    def copy(self, path: Path) -> Operator:
        """A second log that shares the history so far: a fork, or a backup."""
        self.close()
        shutil.copy(self.path, path)
        self._open()
        return Operator(path)

    def close(self) -> None:
        self.database.close()


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Callable[[str], Operator]]:
    """Makes operators that are closed at the end."""
    made: list[Operator] = []

    def make(name: str, of: Operator | None = None) -> Operator:
        made.append(of.copy(tmp_path / name) if of else Operator(tmp_path / name))
        return made[-1]

    yield make
    for item in made:
        item.close()


@pytest.fixture
def witness(tmp_path: Path) -> tuple[WitnessClient, dict[str, bytes]]:
    """A witness of another organisation, and the keys that residents pin."""
    memory = Memory(tmp_path / "witness")
    rules = Witness(memory, ORIGIN, LOG_KEY.public, WITNESS_NAME, lambda: NOW)

    def answer(request: httpx.Request) -> httpx.Response:
        said = rules.add_checkpoint(request.read())
        return httpx.Response(said.status, text=said.text, headers={"content-type": said.media_type})

    client = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://witness")
    return WitnessClient(client, WITNESS_NAME, memory.key.public), {WITNESS_NAME: memory.key.public}


def newest(log: Operator) -> Checkpoint:
    return verify_checkpoint(log.prover.checkpoint(), LOG_KEY.public, ORIGIN, {}, 0)


def problems(log: Operator) -> list[str]:
    return verify_log(log.database, LOG_KEY.public, ORIGIN, BODY_KEY, {}).problems


def require_same_history(log: Operator, before: Checkpoint) -> None:
    """What a resident's client does with the checkpoint it remembers."""
    now = newest(log)
    proof = [unb64(item) for item in log.prover.consistency(before.size, now.size)]
    verify_consistency(before.size, now.size, proof, before.root, now.root)


# Hidden entries


@pytest.mark.parametrize("hidden", [0, 1, 2, 3])
def test_an_entry_left_out_of_the_answer(operator: Any, hidden: int) -> None:
    log = operator("log")
    log.log("one", "two", "three", "four", "five")
    shown = log.prover.entries_of(ANNA, 0, 100)
    del shown[hidden]
    with pytest.raises(LogGapError):
        verify_subject_chain(shown, newest(log), ANNA)


def test_the_newest_entry_left_out_of_the_answer(operator: Any) -> None:
    """Only somebody else can vouch for the newest entry: the broker, by the head it signs."""
    log = operator("log")
    hashes = log.log("one", "two", "three")
    shown = log.prover.entries_of(ANNA, 0, 2)
    verify_subject_chain(shown, newest(log), ANNA)
    with pytest.raises(LogGapError):
        verify_subject_chain(shown, newest(log), ANNA, head=(3, hashes[2]))


def test_an_entry_hidden_and_the_numbers_closed_up(operator: Any) -> None:
    """The operator shows the third entry, rewritten to be the second."""
    log = operator("log")
    log.log("one", "two", "three")
    first, second, third = log.prover.entries_of(ANNA, 0, 100)
    body = parse_canonical(unb64(second["body"]))
    forged = parse_canonical(unb64(third["body"])) | {"number": 2, "previous": body["previous"]}
    with pytest.raises(ProofInvalidError):
        verify_subject_chain([first, third | {"body": b64(canonical(forged))}], newest(log), ANNA)


def test_an_entry_deleted_from_the_database(operator: Any) -> None:
    log = operator("log")
    log.log("one", "two", "three")
    with log.database.write() as session:
        session.connection().execute(text("DELETE FROM log_entry WHERE number = 2"))
    assert "entry 1 is missing: the next one stored is 2" in problems(log)
    with pytest.raises(LogGapError):
        verify_subject_chain(log.prover.entries_of(ANNA, 0, 100), newest(log), ANNA)


# Rewritten entries


def rewrite(bundle: dict[str, Json]) -> dict[str, Json]:
    body = parse_canonical(unb64(bundle["body"])) | {"word": "harmless"}
    return bundle | {"body": b64(canonical(body))}


def test_a_rewritten_entry_has_no_proof(operator: Any) -> None:
    log = operator("log")
    log.log("one", "two", "three")
    shown = log.prover.entries_of(ANNA, 0, 100)
    for position in range(3):
        forged = [*shown[:position], rewrite(shown[position]), *shown[position + 1 :]]
        with pytest.raises(ProofInvalidError):
            verify_subject_chain(forged, newest(log), ANNA)


def test_a_whole_log_rewritten_with_the_log_key(operator: Any) -> None:
    """Everything fits together again; only who remembers an earlier checkpoint can tell."""
    log, forged = operator("log"), operator("forged")
    log.log("one", "two", "three")
    forged.log("one", "harmless", "three")
    assert problems(forged) == []
    remembered = newest(log)
    for item in (log, forged):
        item.log("four")
    require_same_history(log, remembered)
    with pytest.raises(ProofInvalidError):
        require_same_history(forged, remembered)


def test_the_witness_does_not_cosign_a_rewritten_log(operator: Any, witness: Any) -> None:
    client, keys = witness
    log, forged = operator("log"), operator("forged")
    log.log("one", "two", "three")
    Cosigner(log.database, [client]).cosign_now()
    for words in (["one", "harmless", "three"], ["four"], ["five", "six"]):
        forged.log(*words)
        with pytest.raises(WitnessRefusedError):
            Cosigner(forged.database, [client]).cosign_now()
    with pytest.raises(WitnessMissingError):
        verify_checkpoint(forged.prover.checkpoint(), LOG_KEY.public, ORIGIN, keys, 1)


# Forked chains and split views


def test_two_entries_with_one_number(operator: Any) -> None:
    log = operator("log")
    log.log("one")
    fork = operator("fork", log)
    log.log("two", "three")
    fork.log("harmless", "three")
    mine, theirs = log.prover.entries_of(ANNA, 0, 100), fork.prover.entries_of(ANNA, 0, 100)
    for mixed in ([*mine[:2], theirs[2]], [mine[0], theirs[1], mine[2]]):
        with pytest.raises(ProofInvalidError):
            verify_subject_chain(mixed, newest(log), ANNA)


def test_two_entries_with_one_number_in_one_log(operator: Any) -> None:
    """The fork stands in the tree, so both proofs verify: the links between the entries do not."""
    log = operator("log")
    log.log("one", "two")
    with log.database.write() as session:
        head = session.connection().execute(text("SELECT leaf_hash FROM log_chain")).scalar_one()
        session.connection().execute(
            text("UPDATE log_chain SET number = 1, leaf_hash = (SELECT leaf_hash FROM log_entry WHERE number = 1)")
        )
        session.connection().execute(text("UPDATE log_entry SET number = 9 WHERE number = 2"))
    forked = log.log("other two", "three")
    shown = log.prover.bundle([b64(head), *forked], 4)
    first = log.prover.entries_of(ANNA, 0, 1)
    verify_subject_chain([*first, *shown[1:]], newest(log), ANNA)
    with pytest.raises(ProofInvalidError, match="does not follow"):
        verify_subject_chain([*first, shown[0], shown[2]], newest(log), ANNA)
    assert "entry 1: the search columns differ from the body" in problems(log)


def test_a_split_view_gets_one_cosignature_only(operator: Any, witness: Any) -> None:
    client, keys = witness
    log = operator("log")
    log.log("one", "two")
    other = operator("other", log)
    log.log("for the resident")
    other.log("for the court")
    Cosigner(log.database, [client]).cosign_now()
    with pytest.raises(WitnessRefusedError, match="another root of the same size"):
        Cosigner(other.database, [client]).cosign_now()
    other.log("grown further")
    with pytest.raises(WitnessRefusedError, match="another history"):
        Cosigner(other.database, [client]).cosign_now()
    verify_checkpoint(log.prover.checkpoint(), LOG_KEY.public, ORIGIN, keys, 1)
    with pytest.raises(WitnessMissingError):
        verify_checkpoint(other.prover.checkpoint(), LOG_KEY.public, ORIGIN, keys, 1)


def test_a_cosignature_moved_to_another_checkpoint(operator: Any, witness: Any) -> None:
    client, keys = witness
    log, other = operator("log"), operator("other")
    log.log("one")
    other.log("harmless")
    Cosigner(log.database, [client]).cosign_now()
    line = log.prover.checkpoint().splitlines(keepends=True)[-1]
    with pytest.raises(DataspaceError):
        verify_checkpoint(other.prover.checkpoint() + line, LOG_KEY.public, ORIGIN, keys, 1)


# Rollback


def test_a_log_put_back_to_a_backup(operator: Any, witness: Any) -> None:
    client, _keys = witness
    log = operator("log")
    log.log("one", "two")
    backup = operator("backup", log)
    log.log("three")
    Cosigner(log.database, [client]).cosign_now()
    remembered = newest(log)
    assert problems(backup) == []
    with pytest.raises(ProofInvalidError):
        require_same_history(backup, remembered)
    with pytest.raises(WitnessRefusedError, match="longer log"):
        Cosigner(backup.database, [client]).cosign_now()
    backup.log("another three", "four")
    with pytest.raises(ProofInvalidError):
        require_same_history(backup, remembered)
    with pytest.raises(WitnessRefusedError):
        Cosigner(backup.database, [client]).cosign_now()


def test_an_old_proof_under_a_newer_checkpoint(operator: Any) -> None:
    log = operator("log")
    log.log("one")
    old = log.prover.entries_of(ANNA, 0, 100)
    log.log("two")
    with pytest.raises(ProofInvalidError):
        verify_subject_chain(old, newest(log), ANNA)
    assert parse_checkpoint(old[0]["checkpoint"]).size == 1


# Honesty


def test_the_log_key_is_no_witness(operator: Any, tmp_path: Path) -> None:
    log = operator("log")
    log.log("one")
    memory = Memory(tmp_path / "own", lambda _count: LOG_KEY.seed)
    rules = Witness(memory, ORIGIN, LOG_KEY.public, "own", lambda: NOW)
    line = rules.add_checkpoint(f"old 0\n\n{log.prover.checkpoint()}".encode()).text
    with pytest.raises(WitnessMissingError):
        verify_checkpoint(log.prover.checkpoint() + line, LOG_KEY.public, ORIGIN, {"own": LOG_KEY.public}, 1)


def test_a_witness_says_when_it_is_worth_nothing(tmp_path: Path) -> None:
    about = Witness(Memory(tmp_path), ORIGIN, LOG_KEY.public, WITNESS_NAME, lambda: NOW).about()
    assert about["notice"] == NOTICE
    assert "protects against nothing" in about["notice"]["en"]


def test_equal_entries_of_two_residents_have_different_hashes(operator: Any) -> None:
    """Salts: nobody can guess a body and look for its hash."""
    log = operator("log")
    assert len(set(log.log("same", subject="a") + log.log("same", subject="b"))) == 2
    with log.database.write() as session:
        twice = [
            AuditLog(BODY_KEY).append(session, kind="refusals.aggregated", at=NOW, fields={"n": 1}) for _ in range(2)
        ]
    assert twice[0].body == twice[1].body
    assert twice[0].leaf_hash != twice[1].leaf_hash
