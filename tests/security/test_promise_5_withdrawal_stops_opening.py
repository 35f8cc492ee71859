"""Promise 5: after a withdrawal nothing more is opened or released, whoever still holds what was signed before."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dataspace_sdk import Answered, Denied

from connectors import messages
from connectors.broker.client import BrokerClient
from connectors.broker.errors import BrokerRefusedError
from connectors.messages import Job
from consent.model import Withdrawal, grant_set
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.http import UnreachableError
from dataspace.kernel.jws import SigningKey
from demo import district
from demo.city import until
from demo.flow import _state
from demo.operators import BANK, RESEARCHER
from demo.people import Person
from tests.conftest import World, build_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Residents 2 and later are applicants whom nobody has asked yet: each test takes one of its own."""
    yield from build_world(tmp_path_factory.mktemp("district"), 12)


def applicant(world: World, number: int) -> Person:
    assert world.city.district is not None
    label = district.s1_applicants(world.city.district)[number].label
    return next(person for person in world.city.residents if person.label == label)


def asked(world: World, person: Person) -> Any:
    return world.spaces[BANK].ask(world.outcome.listed["S1"], handle=person.client.new_handle(BANK))


def granted(world: World, person: Person) -> Any:
    """The operator's question, with an active one-time grant."""
    ask = asked(world, person)
    person.grant(person.verified_asks(world.clock())[-1], world.clock())
    until(lambda: _state(person, ask.product_digest) == "active")
    return ask


def codes(outcome: Any) -> list[str]:
    assert isinstance(outcome, Denied), outcome
    return [reason.code for reason in outcome.reasons]


class Interfering(BrokerClient):
    """The node's way to the broker, with something happening before one of its calls."""

    def __init__(self, inner: BrokerClient, **before: Callable[[], object]) -> None:
        self.inner = inner
        self.before = before
        self.opened = 0

    def challenge(self) -> str:
        return self.inner.challenge()

    def open(self, opening: dict[str, Any]) -> dict[str, Any]:
        self.before.get("open", int)()
        keys = self.inner.open(opening)
        self.opened += 1
        return keys

    def release(self, request_digest: str, result_digest: str, node: str) -> str:
        self.before.get("release", int)()
        return self.inner.release(request_digest, result_digest, node)


def interfere(world: World, monkeypatch: pytest.MonkeyPatch, **before: Callable[[], object]) -> Interfering:
    between = Interfering(world.programs.node.broker, **before)
    monkeypatch.setattr(world.programs.node, "broker", between)
    return between


def test_the_decision_denies_and_the_broker_says_so_signed(world: World) -> None:
    person = applicant(world, 2)
    ask = granted(world, person)
    assert person.withdraw(ask.product_digest) == "withdrawn"
    assert codes(world.spaces[BANK].answer(ask)) == ["withdrawn_grant"]
    (grant,) = person.client.grants()
    assert person.client.destroyed(grant["grant_digest"], grant["broker_state"])
    entries = person.client.check_log()
    assert [entry.body["outcome"] for entry in entries if entry.body["kind"] == "use.decided"] == ["deny"]


def test_a_run_that_is_under_way_is_not_released(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened and computed; the withdrawal comes before the release."""
    person = applicant(world, 3)
    ask = granted(world, person)
    between = interfere(world, monkeypatch, release=lambda: person.withdraw(ask.product_digest))
    assert codes(world.spaces[BANK].answer(ask)) == ["withdrawn_grant"]
    assert between.opened == 1
    monkeypatch.undo()
    assert codes(world.spaces[BANK].answer(ask)) == ["withdrawn_grant"]


def test_a_run_that_was_decided_is_not_opened(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    person = applicant(world, 4)
    ask = granted(world, person)
    between = interfere(world, monkeypatch, open=lambda: person.withdraw(ask.product_digest))
    assert codes(world.spaces[BANK].answer(ask)) == ["withdrawn_grant"]
    assert between.opened == 0


def captured_job(world: World, monkeypatch: pytest.MonkeyPatch, ask: Any) -> Job:
    """A decided, logged, complete case of an active grant, kept by a service that means ill."""
    jobs: list[Job] = []

    def keep(job: Job, _now: int) -> dict[str, str]:
        jobs.append(job)
        raise BrokerRefusedError("kept for later", code="grant_pending")

    with monkeypatch.context() as patch:
        patch.setattr(world.programs.node, "run", keep)
        assert codes(world.spaces[BANK].answer(ask)) == ["grant_pending"]
    return jobs[0]


def test_old_grant_bytes_and_old_proofs_open_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh nonce, true evidence, the allowed decision of before with its proofs: only the withdrawal is new."""
    person, other = applicant(world, 5), applicant(world, 6)
    kept = {one.label: captured_job(world, monkeypatch, granted(world, one)) for one in (person, other)}
    person.withdraw(world.outcome.listed["S1"].digest)
    with pytest.raises(DataspaceError) as refused:
        world.programs.node.run(kept[person.label], world.clock())
    assert refused.value.code == "withdrawn_grant"
    assert world.programs.node.run(kept[other.label], world.clock())["release"]  # the same way works without one


def test_the_grant_cannot_be_registered_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    person, batches = applicant(world, 7), list[messages.GrantRegistrations]()
    broker = world.programs.broker
    register = broker.register

    def keep(batch: messages.GrantRegistrations, now: int) -> list[dict[str, str]]:
        batches.append(batch)
        return register(batch, now)

    with monkeypatch.context() as patch:
        patch.setattr(broker, "register", keep)
        ask = granted(world, person)
    person.withdraw(ask.product_digest)
    assert register(batches[0], world.clock()) == [{"refused": "withdrawn_grant"}]


def test_a_grant_withdrawn_before_the_broker_had_it_is_never_registered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service holds a grant back, lets it be withdrawn, and brings it to the broker afterwards."""
    person, batches = applicant(world, 8), list[messages.GrantRegistrations]()
    broker, ask = world.programs.broker, asked(world, applicant(world, 8))
    register = broker.register

    def hold_back(batch: messages.GrantRegistrations, _now: int) -> list[dict[str, str]]:
        batches.append(batch)
        raise UnreachableError("held back")

    with monkeypatch.context() as patch:
        patch.setattr(broker, "register", hold_back)
        person.grant(person.verified_asks(world.clock())[-1], world.clock())
        until(lambda: bool(batches))
        assert person.withdraw(ask.product_digest) == "withdrawn"
    withdrawal = withdrawn_token(world, person.grants[ask.product_digest])
    Withdrawal.verify(withdrawal, person.client.ring.signing.public)
    assert register(batches[0], world.clock()) == [{"refused": "withdrawn_grant"}]


def test_a_forged_withdrawal_gets_no_signed_word(world: World) -> None:
    """Else a service could have the word before it brings the grant, and show it when the resident withdraws."""
    person = applicant(world, 0)
    not_here, subject = grant_set([]), person.client.subject
    forged = Withdrawal(grant_digest=not_here, subject=subject, key_statement=None, issued_at=world.clock())
    batch = messages.Withdrawals(withdrawals=[forged.sign(SigningKey(bytes(32)))])
    assert "state" not in world.programs.broker.withdraw(batch, world.clock())[0]


def withdrawn_token(world: World, grant_digest: str) -> str:
    with world.programs.space.database.read() as session:
        found = session.connection().exec_driver_sql("SELECT grant_digest, withdrawal FROM grants").all()
    return str(dict(found)[grant_digest])


def test_an_ongoing_grant_leaves_the_cohort_and_new_epochs_begin(world: World) -> None:
    study, space = world.city.study, world.spaces[RESEARCHER]
    ask = space.ask(world.outcome.listed["A"])
    for person in study:
        person.grant(person.verified_asks(world.clock())[0], world.clock())
    until(lambda: all(_state(person, ask.product_digest) == "active" for person in study))
    chain = study[0].client.ring.chain
    assert chain is not None
    assert study[0].withdraw(ask.product_digest) == "withdrawn"
    now = study[0].client.ring.chain
    assert now is not None
    changed = {name for name, epoch in now.epochs.items() if epoch.epoch == chain.epochs[name].epoch + 1}
    assert changed == {"demographics", "vitals"}
    outcome = space.answer(ask)
    assert isinstance(outcome, (Answered, Denied))
    decided = [[e.body for e in p.client.check_log() if e.body["kind"] == "use.decided"] for p in study[:2]]
    assert [(body["outcome"], body["reasons"]) for body in decided[0]] == [("deny", ["withdrawn_grant"])]
    assert [body["outcome"] for body in decided[1]] == ["allow"]


def test_how_long_a_withdrawal_takes(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """From POST /v1/me/withdrawals to its answer, which comes after the broker has destroyed the key."""
    person = applicant(world, 9)
    ask = granted(world, person)
    store = world.programs.broker.store
    begun = time.perf_counter()
    assert person.withdraw(ask.product_digest) == "withdrawn"
    taken = time.perf_counter() - begun
    with store.database.read() as session:
        (grant,) = store.grants(session, [person.grants[ask.product_digest]]).values()
        assert store.keys(session, [grant["key_id"]])[grant["key_id"]]["seed"] is None
    with capsys.disabled():
        sys.stdout.write(f"\nwithdrawal, from the request to the destroyed key: {taken * 1000:.0f} ms\n")
