"""Promise 2: no use without a decision, no decision without a durable log entry; the broker checks that itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dataspace_sdk import Answered, Ask, UnavailableError
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from connectors.broker import store as broker_store
from consent import store as consent
from dataspace import home
from dataspace.audit import store as log_store
from dataspace.audit.bodies import BodyKey
from dataspace.audit.errors import WitnessUnavailableError
from dataspace.audit.log import AuditLog
from dataspace.audit.verify import verify_log
from dataspace.flows import use
from dataspace.kernel.encoding import b64
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.note import Checkpoint, cosign, parse_checkpoint, sign_checkpoint
from demo.operators import BANK
from tests.conftest import World, build_world
from tests.fakes.acts import applicants, given

Opening = dict[str, Any]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    yield from build_world(tmp_path_factory.mktemp("district"), 1)


@pytest.fixture(scope="module")
def asks(world: World) -> Iterator[Ask]:
    """Granted requests, one for each test that asks for the next."""
    return (given(world, person) for person in applicants(world))


def released(world: World, ask: Ask) -> int:
    """Releases that the broker has recorded for this request."""
    table = broker_store._runs
    wanted = select(func.count()).where(table.c.request_digest == ask.request_digest, table.c.release.is_not(None))
    with world.programs.broker.store.database.read() as session:
        return int(session.execute(wanted).scalar_one())


def run_states(world: World, ask: Ask) -> list[str]:
    with world.programs.space.database.read() as session:
        return [run.state for run in consent.runs_of_request(session, ask.request_digest)]


def refused_without_log(world: World, ask: Ask) -> None:
    """503 for the operator over HTTP, and no run that is open or released."""
    with pytest.raises(UnavailableError) as refused:
        world.spaces[BANK].answer(ask)
    assert (refused.value.code, refused.value.status) == ("log_unavailable", 503)
    assert set(run_states(world, ask)) <= {"failed"}


def answered_in_the_end(world: World, ask: Ask) -> None:
    answered = world.spaces[BANK].answer(ask)
    assert isinstance(answered, Answered)
    assert world.spaces[BANK].answer(ask) == answered
    assert released(world, ask) == 1
    assert run_states(world, ask).count("released") == 1
    assert set(run_states(world, ask)) <= {"failed", "released"}


def broken(*_: object, **__: object) -> Any:
    raise OperationalError("INSERT", {}, Exception("disk I/O error"))


# the log does not work


def test_without_a_sequencer_nothing_is_released(world: World, asks: Iterator[Ask]) -> None:
    ask = next(asks)
    world.programs.space.sequencer.stop()
    try:
        refused_without_log(world, ask)
        assert released(world, ask) == 0
    finally:
        world.programs.space.sequencer.start()
    answered_in_the_end(world, ask)


@pytest.mark.parametrize("where", ["append", "number", "sign"])
def test_with_a_failing_log_database_nothing_is_released(world: World, asks: Iterator[Ask], where: str) -> None:
    ask = next(asks)
    with pytest.MonkeyPatch.context() as patch:
        if where == "append":
            patch.setattr(AuditLog, "append_many", broken)
        else:
            patch.setattr(log_store, {"number": "number_entries", "sign": "save_checkpoint"}[where], broken)
        refused_without_log(world, ask)
        assert released(world, ask) == 0
        if where == "append":
            assert run_states(world, ask) == []
            with world.programs.space.database.read() as session:
                assert consent.uses_of_grants(session, [grants_of(world, ask)], "") == {}
    answered_in_the_end(world, ask)


def grants_of(world: World, ask: Ask) -> str:
    with world.programs.space.database.read() as session:
        return consent.grants_of_request(session, ask.request_digest)[0].grant_digest


def test_an_answer_whose_release_cannot_be_logged_is_not_handed_out(world: World, asks: Iterator[Ask]) -> None:
    """The broker has recorded the release; the service gives nothing away before its own entry stands."""
    ask = next(asks)
    append = AuditLog.append

    def only_decisions(log: AuditLog, session: Any, *, kind: str, **rest: Any) -> Any:
        return broken() if kind == "run.released" else append(log, session, kind=kind, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AuditLog, "append", only_decisions)
        refused_without_log(world, ask)
    assert released(world, ask) == 1
    answered_in_the_end(world, ask)


def test_without_a_witness_nothing_is_released(world: World, asks: Iterator[Ask]) -> None:
    ask = next(asks)

    def unreachable(*_: object) -> str:
        raise WitnessUnavailableError("cannot be reached")

    with pytest.MonkeyPatch.context() as patch:
        for client in world.programs.space.cosigner._clients:
            patch.setattr(client, "add_checkpoint", unreachable)
        refused_without_log(world, ask)
        assert released(world, ask) == 0
    answered_in_the_end(world, ask)


# the broker does not take the service's word


@contextmanager
def tampering(world: World, change: Callable[[Opening], None]) -> Iterator[list[str]]:
    """The service's opening is changed on its way; answers the codes of the broker's refusals."""
    codes: list[str] = []
    client = world.programs.node.broker
    real = client.open

    def changed(opening: Opening) -> dict[str, Any]:
        change(opening)
        try:
            return real(opening)
        except DataspaceError as error:
            codes.append(error.code)
            raise

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "open", changed)
        yield codes


def refused_by_broker(world: World, ask: Ask, change: Callable[[Opening], None]) -> str:
    with tampering(world, change) as codes:
        assert outcome(lambda: use.answer(world.programs.space, BANK, ask.request_digest, world.clock())) != "answered"
    assert len(codes) == 1
    with world.programs.broker.store.database.read() as session:
        assert world.programs.broker.store.run(session, ask.request_digest) is None
    return codes[0]


def outcome(act: Callable[[], dict[str, Any]]) -> str:
    """The status of an answer, or the code of a refusal."""
    try:
        return str(act()["status"])
    except DataspaceError as error:
        return error.code


def size_of(opening: Opening) -> int:
    return parse_checkpoint(opening["checkpoint"]).size


def entries(world: World, ask: Ask, opening: Opening) -> list[Any]:
    """The log's own proofs of everything about the resident, under the opening's checkpoint."""
    subject = next(
        p.client.subject for p in applicants(world) if ask.product_digest in p.grants and owns(world, p, ask)
    )
    return world.programs.space.prover.entries_of(subject, 0, 1000, size=size_of(opening))


def owns(world: World, person: Any, ask: Ask) -> bool:
    return bool(person.grants[ask.product_digest] == grants_of(world, ask))


def signed(world: World, size: int, root: bytes) -> str:
    """A checkpoint by the log's own key and the witness's: what an operator who owns both can make."""
    settings = world.city.settings
    checkpoint = Checkpoint(settings.log_origin, size, root)
    line = cosign(checkpoint.body(), settings.witness_name, home.witness_key(settings), world.clock())
    return sign_checkpoint(checkpoint, home.log_key(settings)) + line


def test_the_broker_opens_nothing_without_proofs_of_exactly_this_use(world: World, asks: Iterator[Ask]) -> None:
    ask = next(asks)
    kept: dict[str, Any] = {}

    def keep(opening: Opening) -> None:
        kept.setdefault("decision", opening["decision"])
        kept.setdefault("use", opening["grants"][0]["entry"])
        opening["decision"] = {}

    def no_use_entry(opening: Opening) -> None:
        opening["grants"][0]["entry"] = {}

    def earlier_decision(opening: Opening) -> None:
        index = parse_index(kept["decision"])
        opening["decision"] = again(world, kept["decision"], opening)
        assert index < size_of(opening)

    def earlier_use(opening: Opening) -> None:
        opening["grants"][0]["entry"] = again(world, kept["use"], opening)

    def older_entry(opening: Opening) -> None:
        opening["grants"][0]["entry"] = entries(world, ask, opening)[0]

    def someone_elses(opening: Opening) -> None:
        other = world.city.study[0].client.subject
        opening["grants"][0]["entry"] = world.programs.space.prover.entries_of(other, 0, 1, size=size_of(opening))[0]

    def swapped(opening: Opening) -> None:
        opening["decision"] = opening["grants"][0]["entry"]

    def bent_proof(opening: Opening) -> None:
        opening["decision"]["inclusion"] = opening["decision"]["inclusion"][::-1]

    def bent_body(opening: Opening) -> None:
        opening["decision"]["body"] = kept["decision"]["body"]

    assert refused_by_broker(world, ask, keep) == "malformed"
    assert refused_by_broker(world, ask, no_use_entry) == "malformed"
    assert refused_by_broker(world, ask, earlier_decision) == "log_entry_mismatch"
    assert refused_by_broker(world, ask, earlier_use) == "log_entry_mismatch"
    assert refused_by_broker(world, ask, older_entry) == "log_entry_rolled_back"
    assert refused_by_broker(world, ask, someone_elses) == "log_entry_mismatch"
    assert refused_by_broker(world, ask, swapped) == "log_entry_mismatch"
    assert refused_by_broker(world, ask, bent_proof) == "proof_invalid"
    assert refused_by_broker(world, ask, bent_body) == "proof_invalid"
    answered_in_the_end(world, ask)


def parse_index(bundle: dict[str, Any]) -> int:
    return int(bundle["index"])


def again(world: World, bundle: dict[str, Any], opening: Opening) -> Any:
    """The same entry, proven under the opening's checkpoint."""
    space = world.programs.space
    with space.database.read() as session:
        hashes = [row.leaf_hash for row in log_store.audited(session) if row.entry_index == bundle["index"]]
    return space.prover.bundle([b64(hashes[0])], size_of(opening))[0]


def test_the_broker_follows_no_fork_of_the_log(world: World, asks: Iterator[Ask]) -> None:
    """Signed by the log and cosigned by a witness that looks away: the broker's own memory refuses them."""
    ask = next(asks)

    def seen(world: World) -> tuple[int, bytes]:
        with world.programs.broker.store.database.read() as session:
            found = world.programs.broker.store.tree(session, world.city.settings.log_origin)
        assert found is not None
        return found

    def same_size(opening: Opening) -> None:
        opening["checkpoint"] = signed(world, seen(world)[0], bytes(32))

    def larger(opening: Opening) -> None:
        opening["checkpoint"] = signed(world, size_of(opening), bytes(32))

    def smaller(opening: Opening) -> None:
        opening["checkpoint"] = signed(world, seen(world)[0] - 3, bytes(32))

    def unknown(opening: Opening) -> None:
        opening["checkpoint"] = signed(world, size_of(opening) + 1000, bytes(32))

    def unwitnessed(opening: Opening) -> None:
        opening["checkpoint"] = opening["checkpoint"].rpartition("— ")[0]

    before = seen(world)
    assert refused_by_broker(world, ask, same_size) == "log_inconsistent"
    assert refused_by_broker(world, ask, larger) == "proof_invalid"
    assert refused_by_broker(world, ask, smaller) == "proof_invalid"
    assert refused_by_broker(world, ask, unknown) in {"proof_invalid", "unreachable", "refused"}
    assert refused_by_broker(world, ask, unwitnessed) == "witness_missing"
    assert seen(world) == before, "a refused checkpoint is not remembered"
    answered_in_the_end(world, ask)


def test_the_log_of_this_module_is_whole(world: World, tmp_path: Path) -> None:
    settings, space = world.city.settings, world.programs.space
    space.sequencer.sequence()
    pins = home.pins_of(settings, "service")
    report = verify_log(space.database, pins.log_key, pins.log_origin, BodyKey(home.body_key(settings)), pins.witnesses)
    assert report.problems == []
    for person in applicants(world):
        person.client.check_log()
