"""A small district on PostgreSQL does what it does on SQLite, and writers who meet get one outcome, never a 500."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any, cast

import pytest
from dataspace_sdk import Answered, Ask
from sqlalchemy import create_engine, func, select, text

from connectors.broker import store as broker_store
from consent import store as consent
from dataspace import home
from dataspace.audit.bodies import BodyKey
from dataspace.audit.verify import verify_log
from dataspace.flows import ask as ask_flow
from dataspace.flows import deliver as deliver_flow
from dataspace.flows import grant as grant_flow
from dataspace.flows import use as use_flow
from dataspace.identity import store as identity
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.signed import verified
from dataspace.settings import Settings
from demo.city import civil_date, until
from demo.flow import Narrator, Outcome, open_shop, settle_city
from demo.operators import BANK
from demo.people import Person
from demo.programs import Programs
from tests.conftest import TestClock, World
from tests.fakes.acts import applicants, asked, given, kinds_of, states, written, written_grant
from tests.fakes.programs import InProcessPrograms
from vault import store as vault

STUDY = 12
THREADS = 4


@contextmanager
def _own_database(server: str) -> Iterator[str]:
    name = f"test_{secrets.token_hex(8)}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield server.replace("/postgres?", f"/{name}?")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def _world(settings: Settings) -> Iterator[World]:
    outcome, clock = Outcome(), TestClock()
    tell = Narrator(outcome, lambda _text: None)
    with InProcessPrograms(settings, clock) as programs:
        city = settle_city(tell, cast(Programs, programs), STUDY)
        yield World(city, programs, clock, outcome, tell, open_shop(tell, city))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("district")
    if request.param == "sqlite":
        yield from _world(Settings(home=folder))
        return
    with _own_database(request.getfixturevalue("postgresql_server")) as url:
        yield from _world(Settings(home=folder, database_url=url))


def together(act: Callable[[int], Any]) -> list[Any]:
    """What several threads get that begin at once; a refusal counts as what they got."""
    barrier = Barrier(THREADS)

    def one(number: int) -> Any:
        barrier.wait(10)
        try:
            return act(number)
        except DataspaceError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


def broker_rows(world: World, table: Any, request_digest: str) -> int:
    with world.programs.broker.store.database.read() as session:
        query = select(func.count()).select_from(table).where(table.c.request_digest == request_digest)
        return int(session.execute(query).scalar_one())


def test_the_district_moves_in_and_is_answered(world: World) -> None:
    city, space = world.city, world.programs.space
    assert space.database.engine.dialect.name == ("postgresql" if city.settings.database_url else "sqlite")
    assert len(city.study) == STUDY
    with space.database.read() as session:
        assert len(identity.residents_of_space(session, "nhefs")) == STUDY
        assert vault.record_count(session) == world.outcome.records
    for person in applicants(world)[:2]:
        ask = asked(world, person)
        now = int(person.client.clock())
        question = person.verified_asks(now)[-1]
        shown = person.preview(question, civil_date(now))
        person.grant(question, now, answer_shown=True)
        until(lambda ask=ask: states(world, ask.request_digest) == ["active"], 20)  # type: ignore[misc]
        answered = world.spaces[BANK].answer(ask)
        assert isinstance(answered, Answered)
        assert answered.answer is not None
        assert answered.answer.answer == shown
        assert world.spaces[BANK].answer(ask) == answered
        assert kinds_of(world, person)[-2:] == ["grant.recorded", "use.decided"]


def test_both_databases_hold_the_same(world: World) -> None:
    """Counts and answers, fixed here for both."""
    with world.programs.space.database.read() as session:
        people = [one.resident_id for one in identity.residents_of_space(session, "nhefs")]
        held = vault.records_of(session, people)
        assert sorted({len(records) for records in held.values()}) == [4]
        assert consent.decisions(session) == {"allow": 2}
    seen = [list(person.seen_answers.values()) for person in applicants(world)[:2]]
    assert (len(applicants(world)), seen) == (10, [["yes"], ["yes"]])


def test_the_same_request_at_once_is_one_request(world: World) -> None:
    person = applicants(world)[2]
    bank, space = world.spaces[BANK], world.programs.space
    ask = bank.new_ask(world.outcome.listed["S1"], handle=person.client.new_handle(BANK))
    now = int(time.time())
    assert together(lambda _n: ask_flow.submit_request(space, BANK, ask.request, now)) == [ask.request_digest] * THREADS
    assert len([q for q in person.client.asks() if q["request"] == ask.request]) == 1


def test_the_same_grant_at_once_is_one_grant(world: World) -> None:
    person = applicants(world)[3]
    ask = asked(world, person)
    body = written_grant(person, ask.request_digest)
    space, subject, now = world.programs.space, person.client.subject, int(time.time())
    got = together(lambda _n: grant_flow.submit_grant(space, subject, body["grant"], body["sealed"], now))
    assert len(set(got)) == 1
    assert isinstance(got[0], str), got
    assert len(states(world, ask.request_digest)) == 1
    assert kinds_of(world, person).count("grant.recorded") == 1


def test_of_different_answers_to_one_question_one_counts(world: World) -> None:
    """Two devices of one resident: two different grants and two refusals."""
    person = applicants(world)[4]
    ask = asked(world, person)
    bodies = [written_grant(person, ask.request_digest) for _ in range(2)]
    refusal = written(person, "/v1/me/refusals", lambda: person.client.refuse(ask.request_digest))
    space, subject, now = world.programs.space, person.client.subject, int(time.time())

    def act(number: int) -> str:
        if number < 2:
            return grant_flow.submit_grant(space, subject, bodies[number]["grant"], bodies[number]["sealed"], now)
        return grant_flow.refuse(space, subject, refusal["refusal"], now)

    got = together(act)
    refused = [item for item in got if isinstance(item, DataspaceError)]
    assert {(item.code, item.status) for item in refused} <= {("already_answered", 409)}, got
    kinds = kinds_of(world, person)
    assert kinds.count("grant.recorded") + kinds.count("grant.refused") == 1
    assert len(states(world, ask.request_digest)) == kinds.count("grant.recorded")
    assert len({item for item in got if isinstance(item, str)}) == 1


def test_the_same_request_answered_at_once_is_one_run(world: World) -> None:
    person = applicants(world)[5]
    ask = given(world, person)
    space, now = world.programs.space, int(time.time())
    got = together(lambda _n: use_flow.answer(space, BANK, ask.request_digest, now))
    refused = [item for item in got if isinstance(item, DataspaceError)]
    assert {item.status for item in refused} <= {409}, [(item.code, item.status) for item in refused]
    assert {item.code for item in refused} <= {"run_in_progress", "already_answered"}
    answers = [item["answer"] for item in got if isinstance(item, dict)]
    assert len(answers) >= 1
    assert len({item["sealed"] for item in answers}) == 1
    answered = world.spaces[BANK].answer(ask)
    assert isinstance(answered, Answered)
    assert answered.raw["sealed"] == answers[0]["sealed"]
    with space.database.read() as session:
        assert [run.state for run in consent.runs_of_request(session, ask.request_digest)] == ["released"]
        digest = person.grants[ask.product_digest]
        assert consent.uses_of_grants(session, [digest], "") == {digest: 1}
    assert broker_rows(world, broker_store._uses, ask.request_digest) == 1
    assert broker_rows(world, broker_store._meter, ask.request_digest) == len({*answered_elements(world, ask)})


def answered_elements(world: World, ask: Ask) -> list[str]:
    return [
        f"{item['collection']}.{field}"
        for item in world.outcome.listed["S1"].manifest["inputs"]
        for field in item["fields"]
    ]


def test_withdrawals_at_once_are_one_withdrawal(world: World) -> None:
    person = applicants(world)[6]
    ask = given(world, person)
    body = written(person, "/v1/me/withdrawals", lambda: person.withdraw(ask.product_digest))
    space, subject, now = world.programs.space, person.client.subject, int(time.time())
    got = together(lambda _n: grant_flow.withdraw(space, subject, body["withdrawal"], None, None, now))
    assert set(got) <= {"withdrawn", "withdrawing"}, got
    until(lambda: states(world, ask.request_digest) == ["withdrawn"], 20)
    assert kinds_of(world, person).count("grant.withdrawn") == 1
    assert use_flow.answer(space, BANK, ask.request_digest, now)["status"] == "denied"


def test_a_withdrawal_during_the_confirmation_is_not_overwritten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker has taken the grant, and before the service writes that down the resident withdraws."""
    person = applicants(world)[7]
    ask = asked(world, person)
    space, subject, now = world.programs.space, person.client.subject, int(time.time())
    register = space.broker.register
    seen: list[str] = []

    def withdraw_meanwhile(batch: dict[str, Any]) -> list[dict[str, str]]:
        answers = register(batch)
        digest = states_and_digests(world, ask.request_digest)[0][1]
        person.grants[ask.product_digest] = digest
        body = written(person, "/v1/me/withdrawals", lambda: person.withdraw(ask.product_digest))
        seen.append(grant_flow.withdraw(space, subject, body["withdrawal"], None, None, now))
        return answers

    monkeypatch.setattr(grant_flow, "SETTLE_SECONDS", 0.2)
    monkeypatch.setattr(space.broker, "register", withdraw_meanwhile)
    body = written_grant(person, ask.request_digest)
    grant_flow.submit_grant(space, subject, body["grant"], body["sealed"], now)
    until(lambda: states(world, ask.request_digest) == ["withdrawn"], 20)
    assert seen == ["withdrawing"], "the confirmation still has its turn at the broker"
    kept = next(g for g in person.client.grants() if g["request_digest"] == ask.request_digest)
    assert person.client.destroyed(kept["grant_digest"], kept["broker_state"])


def states_and_digests(world: World, request_digest: str) -> list[tuple[str, str]]:
    with world.programs.space.database.read() as session:
        return [(g.state, g.grant_digest) for g in consent.grants_of_request(session, request_digest)]


def test_the_same_delivery_at_once_is_stored_once(world: World) -> None:
    """The last delivery of the tax office again, four times at once: its first answer. Then a new one, at once."""
    space, now = world.programs.space, int(time.time())
    person = applicants(world)[8]
    body, before = new_delivery(world, person), record_count(world)
    got = together(lambda _n: deliver_flow.receive(space, "tax", body["delivery"], body["items"], now))
    assert all(item == got[0] for item in got), got
    assert got[0]["items"][0]["accepted"] == 1
    assert record_count(world) == before + 1
    assert kinds_of(world, person)[-1] == "records.received"
    changed = {**body["items"][0], "slot_id": "another"}
    with pytest.raises(DataspaceError):
        deliver_flow.receive(space, "tax", body["delivery"], [changed], now)


def record_count(world: World) -> int:
    with world.programs.space.database.read() as session:
        return vault.record_count(session)


def new_delivery(world: World, person: Person) -> dict[str, Any]:
    """One more sealed wage record for the person, signed by the tax office, on a number of its own."""
    from connectors.sources.agent import SourceAgent
    from connectors.sources.csv_records import SourceRecord
    from connectors.sources.state import SourceState
    from dataspace.kernel.files import secret
    from demo.authority import source_key

    place = world.city.data / "tax"
    state = SourceState(place / "state.db", secret(place / "rows.key"))
    try:
        agent = SourceAgent("tax", source_key(place), state, world.city.service, world.city.settings.audience)
        data: dict[str, Any] = {"month": "2020-01", "net_amount": 90}
        agent.prepare([SourceRecord(person.numbers["tax"], "wages", data, 1)], int(time.time()))
        waiting = list(state.outbox())
        assert len(waiting) == 1
        verified(deliver_flow.Delivery, waiting[0][1]["delivery"], source_key(place).public)
        return waiting[0][1]
    finally:
        state.close()


def test_afterwards_the_log_is_whole(world: World) -> None:
    settings, space = world.city.settings, world.programs.space
    space.sequencer.sequence()
    pins = home.pins_of(settings, "service")
    report = verify_log(space.database, pins.log_key, pins.log_origin, BodyKey(home.body_key(settings)), pins.witnesses)
    assert report.problems == []
    for person in [*world.city.study, *world.city.residents]:
        person.client.check_log()
