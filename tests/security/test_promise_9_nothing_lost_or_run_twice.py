"""Promise 9: nothing is lost or run twice, wherever a program dies. Kill -9 at any line.

Two kinds of tests. In one process, with exact crash points: every commit, every call between programs and every answer
of one is a point; the program that reaches it is dead from there on, until it is started again. And with real
processes that are killed with SIGKILL at points of time spread over an act.
"""

from __future__ import annotations

import gc
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import pytest
from dataspace_sdk import Answered, Ask, DataspaceSdkError, Denied
from sqlmodel import Session

from connectors.broker import store as broker_store
from connectors.broker.store import BrokerStore
from connectors.sources.csv_records import SourceRecord
from consent import store as consent
from consent.model import GrantState
from dataspace import home
from dataspace.audit.bodies import BodyKey
from dataspace.audit.verify import verify_log
from dataspace.flows import deliver, grant, use
from dataspace.kernel.db import Database, open_engine, sqlite_url
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.http import UnreachableError, call
from dataspace.settings import Settings
from demo import district, products
from demo.city import City, civil_date
from demo.csvfiles import read_persons
from demo.flow import Narrator, Outcome, open_shop, settle_city
from demo.operators import BANK, connect, publish
from demo.people import Person
from demo.programs import Programs
from tests.conftest import World, build_world
from tests.fakes.acts import applicants, asked, states, written, written_grant
from vault import store as vault

pytestmark = pytest.mark.filterwarnings(
    # httpcore leaves the socket of a refused connection to the garbage collector, and killed programs refuse many
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
STUDY = 1
RESIDENTS = 7
BANKS = 5
"""A resident's answers are metered for each operator: with so many there are enough for all crash points."""
Program = Literal["service", "broker", "node"]


class CrashError(Exception):
    """The program is dead."""


class Points:
    """Counts the points that the named program passes, and kills it at number ``at``; dead, it does nothing more."""

    def __init__(self, program: Program, at: int) -> None:
        self.program = program
        self.at = at
        self.passed = 0
        self.dead = False

    def reach(self, program: Program) -> None:
        if program != self.program:
            return
        if not self.dead and threading.current_thread().name != "log-sequencer":
            self.passed += 1
            self.dead = self.passed >= self.at
        if self.dead:
            raise CrashError


@contextmanager
def crashing(world: World, program: Program, at: int) -> Iterator[Points]:
    points, rig = Points(program, at), world.programs
    with pytest.MonkeyPatch.context() as patch:
        _commits(patch, points, "service", rig.space.database)
        _commits(patch, points, "broker", rig.broker.store.database)
        for name in ("register", "withdraw"):
            _calls(patch, points, "service", rig.space.broker, name)
        _calls(patch, points, "service", rig.space.node, "run")
        for name in ("open", "release"):
            _calls(patch, points, "node", rig.node.broker, name)
        _calls(patch, points, "node", rig.node.answers, "put")
        yield points


def _calls(patch: pytest.MonkeyPatch, points: Points, program: Program, owner: object, name: str) -> None:
    real = getattr(owner, name)

    def passing(*arguments: Any) -> Any:
        points.reach(program)
        answer = real(*arguments)
        points.reach(program)
        return answer

    patch.setattr(owner, name, passing)


def _commits(patch: pytest.MonkeyPatch, points: Points, program: Program, database: Database) -> None:
    real = database.write

    @contextmanager
    def write() -> Iterator[Session]:
        points.reach(program)
        with real() as session:
            yield session
            points.reach(program)
        points.reach(program)

    patch.setattr(database, "write", write)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A district without background work: tests settle when they mean to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dataspace.app.Worker.start", lambda _worker: None)
        patch.setattr("dataspace.app.Worker.stop", lambda _worker: None)
        for found in build_world(tmp_path_factory.mktemp("district"), STUDY):
            for number in range(BANKS):
                _licensed(found, f"bank-{number}")
            yield found


def _licensed(world: World, name: str) -> None:
    city = world.city
    key = city.operator_key(name).public
    licence = city.registrar.licence(name, ("银行", "Bank"), key, [products.CREDIT], ["wages"])
    call(city.service, "POST", "/v1/register", {"objects": [licence]})
    world.spaces[name] = connect(city, name)
    world.outcome.listed[name] = publish(city, world.spaces[name], products.income_check(name))


@pytest.fixture(scope="module")
def fresh_pairs(world: World) -> Iterator[tuple[Person, str]]:
    """(person, operator) that have had nothing to do with each other."""
    return ((person, f"bank-{n}") for n in range(BANKS) for person in applicants(world))


def restart(world: World) -> None:
    """What a started service does before anybody asks it for anything."""
    space, now = world.programs.space, world.clock()
    use.recover(space, now)
    for _ in range(2):
        grant.settle(space, now)


def until_it_works(act: Callable[[], Any]) -> Any:
    """As people do: again, when the program did not answer."""
    for _ in range(4):
        try:
            return act()
        except (CrashError, UnreachableError, DataspaceSdkError):
            continue
    return act()


def sweep(world: World, program: Program, prepare: Callable[[], Any], act: Callable[[Any], Any]) -> Iterator[Any]:
    """Let ``act`` run over new preparations, dying at point 1, 2, … until it gets through; each is yielded after it."""
    for at in range(1, 60):
        prepared = prepare()
        with crashing(world, program, at) as points, suppress(CrashError, DataspaceError):
            act(prepared)
        yield prepared
        if not points.dead:
            assert at > 3, "there was nothing to crash"
            return
    raise AssertionError("the act has no end")


# what must hold at any moment


def agree(world: World) -> None:
    """The service never holds a grant as active that the broker does not know, or knows as withdrawn."""
    rig = world.programs
    with rig.space.database.read() as session:
        active = consent.grants_in_state(session, consent.ACTIVE, 10_000)
    compare_with_broker(rig.broker.store, [g.grant_digest for g in active])


def compare_with_broker(store: BrokerStore, active: list[str]) -> None:
    with store.database.read() as session:
        known = store.grants(session, active)
        keys = store.keys(session, [row["key_id"] for row in known.values()])
    assert set(known) == set(active)
    for row in known.values():
        assert row["state"] in ("active", "used_up"), "the broker may know before the service that a grant has ended"
        assert (keys[row["key_id"]]["seed"] is not None) == (row["state"] == "active")


def destroyed(store: BrokerStore, digest: str) -> bool:
    """No key of the grant is left in the broker's store."""
    with store.database.read() as session:
        row = store.grants(session, [digest]).get(digest)
        return row is None or (
            row["state"] == "destroyed" and store.keys(session, [row["key_id"]])[row["key_id"]]["seed"] is None
        )


def used(store: BrokerStore, request: str) -> tuple[int, int, int]:
    """(releases, uses, metered elements) of one request at the broker."""
    with store.database.read() as session:
        run = store.run(session, request)
        counts = [
            len(session.execute(table.select().where(table.c.request_digest == request)).all())
            for table in (broker_store._uses, broker_store._meter)
        ]
    return int(run is not None and run["release"] is not None), counts[0], counts[1]


def whole(settings: Settings, database: Database) -> None:
    """The log verifies from its entries up."""
    pins = home.pins_of(settings, "service")
    body_key = BodyKey(home.body_key(settings))
    report = verify_log(database, pins.log_key, pins.log_origin, body_key, pins.witnesses)
    assert report.problems == []
    assert report.size > 0


def chains_are_gapless(people: list[Person]) -> None:
    for person in people:
        person.client.check_log()
        numbers = [entry.body["number"] for entry in person.client.seen.entries]
        assert numbers == list(range(1, len(numbers) + 1))


# exact crash points


@pytest.mark.parametrize("program", ["service", "broker"])
def test_a_grant_comes_through_or_was_never_given(world: World, program: Program) -> None:
    space, person = world.programs.space, applicants(world)[0]

    def prepare() -> tuple[Ask, dict[str, Any]]:
        ask = asked(world, person)
        return ask, written_grant(person, ask.request_digest)

    def give(prepared: tuple[Ask, dict[str, Any]]) -> None:
        body = prepared[1]
        grant.submit_grant(space, person.client.subject, body["grant"], body["sealed"], world.clock())
        grant.settle(space, world.clock())

    for ask, body in sweep(world, program, prepare, give):
        agree(world)
        restart(world)
        agree(world)
        assert states(world, ask.request_digest) in ([], ["active"])
        give((ask, body))
        assert states(world, ask.request_digest) == ["active"]
        agree(world)


@pytest.mark.parametrize("program", ["service", "broker"])
def test_a_recorded_withdrawal_is_carried_out_unasked(world: World, program: Program) -> None:
    space, person, store = world.programs.space, applicants(world)[1], world.programs.broker.store

    def prepare() -> tuple[str, str, str]:
        ask = asked(world, person)
        body = written_grant(person, ask.request_digest)
        digest = grant.submit_grant(space, person.client.subject, body["grant"], body["sealed"], world.clock())
        person.grants[ask.product_digest] = digest
        grant.settle(space, world.clock())
        assert not destroyed(store, digest)
        signed = written(person, "/v1/me/withdrawals", lambda: person.withdraw(ask.product_digest))["withdrawal"]
        return ask.request_digest, digest, signed

    def withdraw(prepared: tuple[str, str, str]) -> str:
        return grant.withdraw(space, person.client.subject, prepared[2], None, None, world.clock())

    for prepared in sweep(world, program, prepare, withdraw):
        request, digest, _signed = prepared
        agree(world)
        recorded = states(world, request)[0] in (consent.WITHDRAWING, consent.WITHDRAWN)
        restart(world)
        agree(world)
        assert destroyed(store, digest) == recorded
        assert states(world, request) == ["withdrawn" if recorded else "active"]
        assert withdraw(prepared) == "withdrawn"
        assert destroyed(store, digest)


def test_a_withdrawal_before_the_confirmation_reaches_the_broker_after_it(world: World) -> None:
    """The service died after the broker took the grant; the resident withdraws what the service calls "recorded"."""
    space, person = world.programs.space, applicants(world)[2]
    ask = asked(world, person)
    body = written_grant(person, ask.request_digest)
    digest = grant.submit_grant(space, person.client.subject, body["grant"], body["sealed"], world.clock())
    register = space.broker.register

    def dying(batch: dict[str, Any]) -> list[dict[str, str]]:
        register(batch)
        raise CrashError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(space.broker, "register", dying)
        with pytest.raises(CrashError):
            grant.settle(space, world.clock())
    assert states(world, ask.request_digest) == ["recorded"]
    assert not destroyed(world.programs.broker.store, digest)
    person.grants[ask.product_digest] = digest
    signed = written(person, "/v1/me/withdrawals", lambda: person.withdraw(ask.product_digest))["withdrawal"]
    assert grant.withdraw(space, person.client.subject, signed, None, None, world.clock()) == "withdrawn"
    assert destroyed(world.programs.broker.store, digest)


@pytest.mark.parametrize("program", ["service", "broker", "node"])
def test_one_request_has_one_answer(world: World, fresh_pairs: Iterator[tuple[Person, str]], program: Program) -> None:
    space, store = world.programs.space, world.programs.broker.store

    def prepare() -> tuple[Person, str, Ask]:
        person, operator = next(fresh_pairs)
        ask = asked(world, person, operator)
        body = written_grant(person, ask.request_digest)
        grant.submit_grant(space, person.client.subject, body["grant"], body["sealed"], world.clock())
        grant.settle(space, world.clock())
        return person, operator, ask

    def run(prepared: tuple[Person, str, Ask]) -> Any:
        return use.answer(space, prepared[1], prepared[2].request_digest, world.clock())

    for person, operator, ask in sweep(world, program, prepare, run):
        agree(world)
        assert max(used(store, ask.request_digest)) <= 2
        restart(world)
        answered = until_it_works(partial(world.spaces[operator].answer, ask))
        assert isinstance(answered, Answered), answered
        assert world.spaces[operator].answer(ask) == answered
        assert used(store, ask.request_digest) == (1, 1, 2)
        with space.database.read() as session:
            runs = [one.state for one in consent.runs_of_request(session, ask.request_digest)]
            given = consent.grants_of_request(session, ask.request_digest)[0].grant_digest
            assert consent.uses_of_grants(session, [given], "") == {given: 1}
        assert runs.count("released") == 1
        assert set(runs) <= {"released", "failed"}
        assert person.client.check_log()


def test_a_withdrawal_after_an_interrupted_run_ends_it(world: World, fresh_pairs: Iterator[tuple[Person, str]]) -> None:
    """The answer lay ready at the node when the service died; the resident withdraws before anybody asks again."""
    space, (person, operator) = world.programs.space, next(fresh_pairs)
    ask = asked(world, person, operator)
    body = written_grant(person, ask.request_digest)
    digest = grant.submit_grant(space, person.client.subject, body["grant"], body["sealed"], world.clock())
    grant.settle(space, world.clock())
    with crashing(world, "node", 4), pytest.raises((UnreachableError, DataspaceError)):
        use.answer(space, operator, ask.request_digest, world.clock())
    person.grants[ask.product_digest] = digest
    person.scopes[ask.product_digest] = []
    signed = written(person, "/v1/me/withdrawals", lambda: person.withdraw(ask.product_digest))["withdrawal"]
    assert grant.withdraw(space, person.client.subject, signed, None, None, world.clock()) == "withdrawn"
    restart(world)
    assert isinstance(world.spaces[operator].answer(ask), Denied)
    assert used(world.programs.broker.store, ask.request_digest)[0] == 0


def test_a_delivery_is_complete_exactly_once(world: World) -> None:
    space, person = world.programs.space, applicants(world)[3]

    def prepare() -> dict[str, Any]:
        return new_delivery(world, person)

    def receive(body: dict[str, Any]) -> dict[str, Any]:
        return deliver.receive(space, "tax", body["delivery"], body["items"], world.clock())

    for body in sweep(world, "service", prepare, receive):
        before = record_count(space.database)
        stored = number_of(body) in deliveries(space.database)
        first, second = receive(body), receive(body)
        assert first == second
        assert first["items"][0]["accepted"] == 1
        assert record_count(space.database) == before + (0 if stored else 1)


def record_count(database: Database) -> int:
    with database.read() as session:
        return vault.record_count(session)


def deliveries(database: Database) -> set[int]:
    with database.read() as session:
        return {number for number in range(1, 200) if vault.delivery(session, "tax", number)}


def number_of(body: dict[str, Any]) -> int:
    return deliver.Delivery.claimed(body["delivery"]).number


_months = iter(range(1, 200))


def new_delivery(world: World, person: Person) -> dict[str, Any]:
    """One more sealed wage record for the person, signed by the tax office, under the next number."""
    agent = world.programs.authorities["tax"].agent
    month = next(_months)
    data: dict[str, Any] = {"month": f"{1990 + month // 12}-{1 + month % 12:02}", "net_amount": month}
    agent.prepare([SourceRecord(person.numbers["tax"], "wages", data, 1)], world.clock())
    number, body = list(agent.state.outbox())[-1]
    agent.state.delivered(number, [])
    return body


def test_afterwards_everything_fits_together(world: World) -> None:
    restart(world)
    space = world.programs.space
    space.sequencer.sequence()
    space.cosigner.cosign_now()
    agree(world)
    whole(world.city.settings, space.database)
    chains_are_gapless([*world.city.study, *world.city.residents])


# real processes, killed


SERVE = {
    "service": ["dataspace.cli", "serve", "--port", "0"],
    "broker": ["dataspace.cli", "broker"],
    "node": ["dataspace.cli", "node"],
}


class Live:
    """A district of real processes, and a look into its stores from outside."""

    def __init__(self, city: City, programs: Programs) -> None:
        self.city = city
        self.programs = programs
        self.database = Database(open_engine(sqlite_url(city.settings.service_home / "dataspace.db")))
        self.store = BrokerStore(Database(open_engine(sqlite_url(city.settings.broker_home / "broker.db"))))
        self.spaces: dict[str, Any] = {}
        self.outcome = Outcome()
        self.people: Iterator[Person] = iter(())

    def close(self) -> None:
        self.database.close()
        self.store.database.close()
        for client in (self.city.service, *self.city.authorities.values()):
            client.close()
        for space in self.spaces.values():
            space._http.close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    def killed_during(self, program: Program, after_s: float, act: Callable[[], Any]) -> Any:
        """What ``act`` brought although the program was killed ``after_s`` into it; the program is started again."""
        with ThreadPoolExecutor(1) as pool:
            acting: Future[Any] = pool.submit(act)
            time.sleep(after_s)
            self.programs.kill(program)
            failure = acting.exception(60)
        self.programs.start(program, SERVE[program])
        allowed = (DataspaceError, DataspaceSdkError)
        if failure is not None and not isinstance(failure, allowed):
            raise failure
        return failure if failure is not None else acting.result()

    def asked(self, person: Person) -> Ask:
        handle = person.client.new_handle(BANK)
        return cast(Ask, self.spaces[BANK].ask(self.outcome.listed["S1"], handle=handle))

    def grant(self, person: Person, ask: Ask) -> None:
        now = int(time.time())
        for question in person.verified_asks(now):
            if question.request.digest == ask.request_digest:
                person.grant(question, now, answer_shown=True)

    def state(self, ask: Ask) -> str:
        with self.database.read() as session:
            found = consent.grants_of_request(session, ask.request_digest)
        assert len(found) <= 1
        return found[0].state if found else ""

    def comes_to(self, ask: Ask, wanted: str) -> str:
        """The state of the grant, after at most 20 s in which nobody asks for anything."""
        end = time.monotonic() + 20
        while self.state(ask) != wanted and time.monotonic() < end:
            time.sleep(0.02)
        return self.state(ask)

    def digest(self, ask: Ask) -> str:
        with self.database.read() as session:
            return consent.grants_of_request(session, ask.request_digest)[0].grant_digest

    def agree(self) -> None:
        """As of the service's word before the broker's, so that a withdrawal between the two does no harm."""
        with self.store.database.read() as session:
            before = {row["grant_digest"] for row in session.execute(broker_store._grants.select()).mappings()}
        with self.database.read() as session:
            active = [g.grant_digest for g in consent.grants_in_state(session, consent.ACTIVE, 1000)]
        compare_with_broker(self.store, [digest for digest in active if digest in before])


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Everybody has moved in; nothing has been delivered."""
    settings = Settings(home=tmp_path_factory.mktemp("live"))
    outcome = Outcome()
    tell = Narrator(outcome, lambda _text: None)
    with Programs(settings) as programs, pytest.MonkeyPatch.context() as patch:
        patch.setattr("demo.flow.deliver", lambda _city: {})
        patch.setattr("demo.city.read_persons", _few)
        city = settle_city(tell, programs, STUDY)
        found = Live(city, programs)
        found.outcome = outcome
        found.spaces = open_shop(tell, city)
        yield found
        found.close()


def _few(folder: Path) -> dict[str, str]:
    """Numbers of the bank's first applicants and one participant of the study: few people, so that this is quick."""
    today = district.generate(date.fromisoformat(civil_date(int(time.time()))))
    wanted = [one.label for one in district.s1_applicants(today)][:RESIDENTS]
    return {label: number for label, number in read_persons(folder).items() if label in wanted or "0001" in label}


def delivered(live: Live, name: str) -> dict[str, Any]:
    return call(live.city.authorities[name], "POST", "/v1/deliver", {})


def test_kill_the_service_while_sources_deliver(live: Live) -> None:
    """Sealed once at each source, stored once at the service, no gap in any sequence."""
    for name, after_s in zip(("tax", "social_insurance", "civil_affairs"), (0.1, 0.25, 0.4), strict=True):
        live.killed_during("service", after_s, partial(delivered, live, name))
    for name in live.city.authorities:
        answer = until_it_works(partial(delivered, live, name))
        assert (answer["problems"], answer["refused"]) == ([], {})
        assert delivered(live, name)["accepted"] == 0
    total = 0
    for person in [*live.city.residents, *live.city.study]:
        sequences: dict[tuple[str, str], list[int]] = {}
        for record in until_it_works(person.client.records)[0]:
            sequences.setdefault((record.link_id, record.collection), []).append(record.sequence)
        for found in sequences.values():
            assert sorted(found) == list(range(1, len(found) + 1))
            total += len(found)
    assert total == record_count(live.database) > 30
    live.people = iter(_applicants(live)[1:])


def _applicants(live: Live) -> list[Person]:
    """Residents with wages."""
    people = live.city.residents
    return [one for one in people if any(r.collection == "wages" for r in one.client.records()[0])]


@pytest.mark.parametrize(("program", "after_s"), [("service", 0.01), ("service", 0.06), ("broker", 0.04)])
def test_kill_while_a_resident_grants_and_withdraws(live: Live, program: Program, after_s: float) -> None:
    person = _applicants(live)[0]
    ask = live.asked(person)
    live.killed_during(program, after_s, lambda: live.grant(person, ask))
    live.agree()
    if not live.state(ask):
        until_it_works(lambda: live.grant(person, ask))
    assert live.comes_to(ask, "active") == "active"
    live.agree()
    digest = live.digest(ask)
    person.grants[ask.product_digest], person.scopes[ask.product_digest] = digest, []
    said = live.killed_during(program, after_s, lambda: person.withdraw(ask.product_digest))
    if isinstance(said, DataspaceError):
        live.agree()
        if live.state(ask) == "active":
            until_it_works(lambda: person.withdraw(ask.product_digest))
    assert live.comes_to(ask, "withdrawn") == "withdrawn", "nobody asks again"
    assert destroyed(live.store, digest)
    kept = next(g for g in until_it_works(person.client.grants) if g["grant_digest"] == digest)
    state = GrantState.verify(kept["broker_state"], live.city.pins.broker)
    assert (state.grant_digest, state.state) == (digest, "destroyed")


@pytest.mark.parametrize(("program", "after_s"), [("service", 0.05), ("broker", 0.05), ("node", 0.08)])
def test_kill_while_a_request_is_answered(live: Live, program: Program, after_s: float) -> None:
    bank, person = live.spaces[BANK], next(live.people)
    ask = live.asked(person)
    live.grant(person, ask)
    assert live.comes_to(ask, "active") == "active"
    live.killed_during(program, after_s, lambda: bank.answer(ask))
    answered = until_it_works(lambda: bank.answer(ask))
    assert isinstance(answered, Answered), answered
    assert bank.answer(ask).evidence.result_digest == answered.evidence.result_digest
    assert used(live.store, ask.request_digest) == (1, 1, 2)
    with live.database.read() as session:
        runs = [run.state for run in consent.runs_of_request(session, ask.request_digest)]
    assert runs.count("released") == 1
    assert set(runs) <= {"released", "failed"}
    live.agree()


def test_after_all_kills_everything_fits_together(live: Live) -> None:
    chains_are_gapless([*live.city.study, *live.city.residents])
    live.programs.stop("service")
    whole(live.city.settings, live.database)
    live.agree()
