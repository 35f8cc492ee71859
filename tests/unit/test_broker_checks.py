"""The broker's own checks of one grant, one chain, one entry, one decision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from connectors.broker.appraise import Expected
from connectors.broker.checks import (
    check_decision,
    check_grant,
    check_statements,
    check_use_entry,
    verified_by_any,
)
from connectors.messages import GrantPapers, RecordRef
from consent.model import GrantTermsSigned
from dataspace.kernel.encoding import b64, canonical
from dataspace.kernel.errors import DataspaceError
from tests.fakes import papers
from tests.fakes.logs import FakeLog
from vault.envelope import seal_slot
from vault.granting import seal_grant
from vault.suite1 import OpeningKey, SealingKey

RING, PLACE = papers.RING, papers.PLACE
KEY = RING.signing.public
OTHER = papers.keyring(label="another resident")
ASK, ONGOING = papers.ask(), papers.ask(**papers.ONGOING)
SLOT = seal_slot(SealingKey(papers.EPOCH.key), PLACE, papers.SLOT_KEY)


def code_of(attempt: Any, *arguments: Any, **members: Any) -> str:
    with pytest.raises(DataspaceError) as refused:
        attempt(*arguments, **members)
    return refused.value.code


def granted(terms: GrantTermsSigned) -> GrantPapers:
    broker = SealingKey(OpeningKey(papers.GRANT_SEED).public)
    token, sealed = seal_grant(RING, canonical(terms.model_dump(mode="json")), broker, papers.slots(SLOT))
    return GrantPapers(grant=token, sealed=[b64(item) for item in sealed])


ONE_TIME_PAPERS, ONGOING_PAPERS = granted(papers.terms(ASK)), granted(papers.terms(ONGOING))


def record(**changes: Any) -> RecordRef:
    made = {"record_id": papers.RECORD_ID, "slot_id": PLACE.slot_id, "collection": "wages", "slot": b64(SLOT)}
    return RecordRef(**{**made, "source_id": papers.SOURCE_ID, **changes})


# grants


def test_a_grant_with_its_keys_and_records() -> None:
    for signing_key in (None, KEY):
        grant = check_grant(ONE_TIME_PAPERS, signing_key, [record()])
        assert (grant.digest, grant.terms) == (papers.terms(ASK).digest(), papers.terms(ASK))
    grant.check_answers(ASK.listed, ASK.request.content)
    grant.check_epochs(papers.chain_of(RING))
    assert check_grant(ONGOING_PAPERS, KEY, [record(slot_id="any")]).terms.mode == "ongoing"


def test_a_grant_is_signed_by_its_resident_and_has_its_own_keys() -> None:
    assert code_of(check_grant, ONE_TIME_PAPERS, OTHER.signing.public) == "signature_invalid"
    for sealed in ([], ONGOING_PAPERS.sealed, ONE_TIME_PAPERS.sealed * 2):
        swapped = GrantPapers(grant=ONE_TIME_PAPERS.grant, sealed=sealed)
        assert code_of(check_grant, swapped, KEY) == "swapped_sealed_keys"


def test_records_outside_the_grant_are_not_opened() -> None:
    assert code_of(check_grant, ONE_TIME_PAPERS, KEY, [record(), record(slot_id="x")]) == "record_outside_grant"
    for given in (ONE_TIME_PAPERS, ONGOING_PAPERS):
        assert code_of(check_grant, given, KEY, [record(collection="vitals")]) == "record_outside_grant"


def test_a_one_time_grant_is_for_the_request_that_was_shown() -> None:
    again = papers.use_request(ASK.listed, request_id="again")
    assert code_of(check_grant(ONE_TIME_PAPERS, KEY).check_answers, ASK.listed, again) == "grant_for_other_request"
    again = papers.use_request(ONGOING.listed, request_id="again")
    check_grant(ONGOING_PAPERS, KEY).check_answers(ONGOING.listed, again)


def test_a_grant_names_a_current_epoch_of_the_residents_own_chain() -> None:
    later = papers.keyring()
    later.new_epochs(["wages"], papers.NOW, papers.seeds("later"))
    chains = [papers.chain_of(OTHER), papers.chain_of(later), papers.chain_of(papers.keyring(("vitals",)))]
    for chain in chains:
        assert code_of(check_grant(ONE_TIME_PAPERS, KEY).check_epochs, chain) == "substituted_epoch_key"


# statements


def test_a_chain_never_gets_shorter_or_different() -> None:
    grown, forked = papers.keyring(), papers.keyring()
    grown.new_epochs(["wages"], papers.NOW, papers.seeds("grown"))
    forked.new_epochs(["wages"], papers.NOW, papers.seeds("forked"))
    chain = papers.chain_of(grown)
    known = {RING.subject: {"number": chain.number, "head": chain.head}}
    assert check_statements(grown.statements, RING.subject, known) == chain
    assert check_statements(grown.statements, RING.subject, {}) == chain
    assert code_of(check_statements, grown.statements[:1], RING.subject, known) == "key_statement_rolled_back"
    assert code_of(check_statements, forked.statements, RING.subject, known) == "substituted_epoch_key"
    assert code_of(check_statements, OTHER.statements, RING.subject, known) == "substituted_epoch_key"
    grown.new_epochs(["wages"], papers.NOW, papers.seeds("grown further"))
    assert check_statements(grown.statements, RING.subject, known).number == 3


# entries


def log() -> FakeLog:
    made = FakeLog()
    for number in range(3):
        made.add("use.decided", "anna", run_id=f"run-{number}")
    made.add("use.decided", "bo")
    return made


def known_of(made: FakeLog, index: int, number: int) -> dict[str, dict[str, Any]]:
    entry = check_use_entry(made.bundle(index), made.checkpoint(), {}, "anna").entry
    return {"anna": {"entry_number": number, "entry": entry.leaf_hash, "subject": "anna"}}


def test_an_entry_is_about_this_resident_and_not_older_than_one_acted_on() -> None:
    made = log()
    known = known_of(made, 1, 2)
    for index in (1, 2):
        entry = check_use_entry(made.bundle(index), made.checkpoint(), known, "anna")
        entry.require(kind="use.decided", run_id=f"run-{index}")
        assert entry.subject_row()["entry_number"] == index + 1
    assert code_of(check_use_entry, made.bundle(0), made.checkpoint(), known, "anna") == "log_entry_rolled_back"
    assert code_of(check_use_entry, made.bundle(3), made.checkpoint(), known, "anna") == "log_entry_mismatch"
    assert code_of(check_use_entry, made.bundle(0, 1), made.checkpoint(), known, "anna") == "proof_invalid"
    assert code_of(entry.require, kind="use.decided", run_id="run-0") == "log_entry_mismatch"
    assert code_of(entry.require, missing="x") == "log_entry_mismatch"


def test_another_entry_under_a_number_acted_on_is_a_rewritten_log() -> None:
    made, rewritten = log(), FakeLog()
    for _ in range(3):
        rewritten.add("use.decided", "anna", run_id="another")
    arguments = rewritten.bundle(1), rewritten.checkpoint(), known_of(made, 1, 2), "anna"
    assert code_of(check_use_entry, *arguments) == "log_entry_rolled_back"


def test_what_the_broker_keeps_about_a_resident() -> None:
    made = log()
    entry = check_use_entry(made.bundle(0), made.checkpoint(), known_of(made, 0, 1), "anna")
    chain = papers.chain_of(RING)
    assert entry.subject_row(chain) == {
        "subject": RING.subject,
        "number": 1,
        "head": chain.head,
        "signing_key": KEY,
        "entry_number": 1,
        "entry": entry.entry.leaf_hash,
    }


EXPECTED = Expected("run-1", "request", "grants", "policy")


def test_the_logged_decision_is_to_allow_exactly_this() -> None:
    wanted = {**vars(EXPECTED), "outcome": "allow"}
    for member, value in [("outcome", "deny"), *((name, "another") for name in vars(EXPECTED))]:
        made = FakeLog()
        made.add("run.decided", **{**wanted, member: value})
        assert code_of(check_decision, made.bundle(0), made.checkpoint(), EXPECTED) == "log_entry_mismatch"
    made = FakeLog()
    made.add("run.decided", **wanted)
    made.add("run.released", **wanted)
    check_decision(made.bundle(0), made.checkpoint(), EXPECTED)
    assert code_of(check_decision, made.bundle(1), made.checkpoint(), EXPECTED) == "log_entry_mismatch"
    another = replace(made.checkpoint(), root=bytes(32))
    assert code_of(check_decision, made.bundle(0), another, EXPECTED) == "proof_invalid"


# signatures


def test_one_of_the_residents_keys_has_to_have_signed() -> None:
    token = papers.withdrawal(papers.terms(ASK).digest()).sign(RING.signing)
    for keys in ([KEY], [OTHER.signing.public, KEY], [KEY, OTHER.signing.public]):
        verified_by_any(token, "withdrawal", keys)
    assert code_of(verified_by_any, token, "withdrawal", [OTHER.signing.public]) == "signature_invalid"
    assert code_of(verified_by_any, token, "refusal", [KEY]) == "signature_invalid"


def test_where_no_key_is_known_nothing_is_verified() -> None:
    token = papers.withdrawal(papers.terms(ASK).digest()).sign(OTHER.signing)
    assert code_of(verified_by_any, token, "withdrawal", []) == "signature_invalid"
