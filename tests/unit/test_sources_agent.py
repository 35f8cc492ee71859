"""connectors.sources.agent: one link a person, each row once, the same bytes after a crash, nothing lost, no gaps."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.sources.agent import LinkRefusedError
from connectors.sources.state import LinkState, SourceState
from dataspace.flows.deliver import Delivery
from dataspace.flows.register import Link
from dataspace.kernel.encoding import canonical, digest
from dataspace.kernel.http import RefusedError, UnreachableError
from tests.fakes.sources import KEY, NOW, SOURCE_ID, Clinic, opened, smoking
from vault.errors import KeyStatementError
from vault.keyring import STATEMENT_SECONDS, Keyring
from vault.records import gaps

ROWS = [smoking("p1", 2019), smoking("p1", 2020), smoking("p1", 2021, quit_=False)]


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    made = Clinic(tmp_path)
    yield made
    made.close()


@pytest.fixture
def ring() -> Keyring:
    return Keyring.create(["smoking"], NOW)


def unknown_link(_item: dict[str, Any]) -> dict[str, Any]:
    return {"refused": "unknown_link"}


def current_only(*rings: Keyring) -> Any:
    """As the service: what is sealed to an epoch of yesterday is refused."""

    def judge(item: dict[str, Any]) -> dict[str, Any]:
        current = {ring.chain.epochs["smoking"].key_digest for ring in rings if ring.chain}
        return {"accepted": len(item["records"])} if item["epoch_key"] in current else {"refused": "retired_epoch"}

    return judge


# links


def test_a_link_is_the_sources_signed_word(clinic: Clinic, ring: Keyring) -> None:
    token = clinic.agent.link("person 4711", ring.statements, ring.subject, NOW)
    link = Link.verify(token, KEY.public)
    assert (link.source_id, link.subject, link.issued_at) == (SOURCE_ID, ring.subject, NOW)
    assert ring.chain is not None
    assert link.statement == ring.chain.first
    assert "person 4711" not in json.dumps(link.payload()), "the source's own number stays with the source"


def test_the_same_person_again_gets_the_same_link(clinic: Clinic, ring: Keyring) -> None:
    first = clinic.agent.link("p1", ring.statements, ring.subject, NOW)
    clinic.restart()
    assert clinic.agent.link("p1", ring.statements, ring.subject, NOW + 100) == first
    ring.new_epochs(["smoking"], NOW + 200)
    assert clinic.agent.link("p1", ring.statements, ring.subject, NOW + 200) == first
    assert clinic.state.linked_people() == {"p1"}


def test_a_linked_person_cannot_be_linked_with_another_key(clinic: Clinic, ring: Keyring) -> None:
    first = clinic.agent.link("p1", ring.statements, ring.subject, NOW)
    other = Keyring.create(["smoking"], NOW)
    with pytest.raises(LinkRefusedError) as caught:
        clinic.agent.link("p1", other.statements, other.subject, NOW)
    assert (caught.value.code, caught.value.status) == ("already_linked", 403)
    kept = clinic.state.link_of("p1")
    assert kept is not None
    assert (kept.token, kept.subject, kept.statements) == (first, ring.subject, ring.statements)


def test_threads_link_side_by_side(clinic: Clinic) -> None:
    """Each link stands or falls by itself, whatever the other threads do on the same connection."""
    rings = {f"p{number}": Keyring.create(["smoking"], NOW) for number in range(6)}

    def link(person: str) -> str:
        for _ in range(10):
            token = clinic.agent.link(person, rings[person].statements, rings[person].subject, NOW)
            clinic.state.set_statements(Link.claimed(token).link_id, rings[person].statements)
        return token

    with ThreadPoolExecutor(6) as pool:
        tokens = list(pool.map(link, rings))
    clinic.restart()
    assert [state.token for person in rings if (state := clinic.state.link_of(person))] == tokens


def test_a_failed_act_leaves_nothing(tmp_path: Path) -> None:
    state = SourceState(tmp_path / "state.db", bytes(32))
    with pytest.raises(sqlite3.IntegrityError):
        state.enqueue(1, {}, [("row", "l", "smoking", 1), ("row", "l", "smoking", 2)])
    state.add_link(LinkState("p1", "l", "s", "t", []))
    assert (list(state.outbox()), state.sent_rows(), state.next_number()) == ([], set(), 1)
    state.close()


# what is prepared


def test_records_reach_the_resident(clinic: Clinic, ring: Keyring) -> None:
    link_id = clinic.link("p1", ring)
    assert clinic.agent.prepare(ROWS, NOW) == 3
    assert clinic.agent.send(NOW).accepted == 3
    records = opened(clinic.service.accepted(), ring)
    assert [r.data for r in records] == [row.data for row in ROWS]
    assert [(r.sequence, r.link_id, r.schema) for r in records] == [(n, link_id, "smoking/1") for n in (1, 2, 3)]


def test_the_cover_is_signed_over_the_items(clinic: Clinic, ring: Keyring) -> None:
    clinic.link("p1", ring)
    clinic.agent.prepare(ROWS, NOW)
    clinic.agent.send(NOW)
    body = json.loads(clinic.service.bodies[0])
    cover = Delivery.verify(body["delivery"], KEY.public)
    assert cover.items == digest("delivery-items", canonical(body["items"]))
    assert (cover.source_id, cover.number, cover.issued_at) == (SOURCE_ID, 1, NOW)


def test_preparing_again_changes_nothing(clinic: Clinic, ring: Keyring) -> None:
    clinic.link("p1", ring)
    clinic.agent.prepare([*ROWS, ROWS[0]], NOW)
    before = list(clinic.state.outbox())
    for _ in range(3):
        assert clinic.agent.prepare(ROWS, NOW + 60) == 0
    clinic.restart()
    assert clinic.agent.prepare(ROWS, NOW + 60) == 0
    assert list(clinic.state.outbox()) == before
    clinic.agent.send(NOW)
    assert clinic.agent.prepare(ROWS, NOW + 120) == 0, "delivered rows stay known"
    assert clinic.agent.send(NOW).accepted == 0


def test_people_without_a_link_or_a_key_wait(clinic: Clinic, ring: Keyring) -> None:
    clinic.link("p1", Keyring.create(["vitals"], NOW))
    assert clinic.agent.prepare([*ROWS, smoking("p2", 2020)], NOW) == 0
    assert list(clinic.state.outbox()) == []
    clinic.link("p2", ring)
    assert clinic.agent.prepare([*ROWS, smoking("p2", 2020)], NOW) == 1


def test_names_of_sent_rows_are_not_digests_of_data(tmp_path: Path) -> None:
    """Who steals the state cannot try out what somebody's record says."""
    names = set()
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        state = SourceState(folder / "state.db", bytes([number]) * 32)
        names.add(state.row_name("p1", "smoking", b"{}"))
        assert state.row_name("p1", "smoking", b"{}") == state.row_name("p1", "smoking", b"{}")
        state.close()
    assert len(names) == 2


def test_one_expired_key_does_not_hold_up_the_others(clinic: Clinic, ring: Keyring) -> None:
    """Records of whoever has an expired statement wait for its successor; everybody else's go out."""
    late = Keyring.create(["smoking"], NOW - STATEMENT_SECONDS)
    link_id = clinic.link("p0", late)
    clinic.link("p1", ring)
    rows = [smoking("p0", 2020), *ROWS]
    assert clinic.agent.prepare(rows, NOW) == 3
    late.new_epochs(["smoking"], NOW)
    assert clinic.agent.send(NOW).accepted == 3
    renewed = clinic.state.link_by_id(link_id)
    assert renewed.statements == late.statements
    assert (clinic.agent.prepare(rows, NOW), clinic.agent.send(NOW).accepted) == (1, 1)
    assert len(opened([i for i in clinic.service.accepted() if i["link_id"] == link_id], late)) == 1


# crashes and refusals


def test_after_a_crash_before_sending_the_same_bytes_go_out(clinic: Clinic, ring: Keyring) -> None:
    clinic.link("p1", ring)
    clinic.agent.prepare(ROWS, NOW)
    before = list(clinic.state.outbox())
    clinic.restart()
    assert clinic.agent.prepare(ROWS, NOW + 100) == 0
    assert clinic.agent.send(NOW + 100).accepted == 3
    assert [json.loads(body) for body in clinic.service.bodies] == [body for _number, body in before]
    assert list(clinic.state.outbox()) == []


def test_a_lost_answer_is_fetched_with_identical_bytes(clinic: Clinic, ring: Keyring) -> None:
    clinic.link("p1", ring)
    clinic.agent.prepare(ROWS, NOW)
    clinic.service.lose_answer = True
    with pytest.raises(UnreachableError):
        clinic.agent.send(NOW)
    clinic.service.lose_answer = False
    clinic.restart()
    assert clinic.agent.send(NOW + 30).accepted == 3
    assert len(clinic.service.bodies) == 2
    assert clinic.service.bodies[0] == clinic.service.bodies[1]
    assert len(opened(clinic.service.accepted(), ring)) == 3


def test_a_service_that_is_away_loses_nothing(clinic: Clinic, ring: Keyring) -> None:
    clinic.link("p1", ring)
    clinic.agent.prepare(ROWS[:1], NOW)
    clinic.service.down = True
    with pytest.raises(UnreachableError):
        clinic.agent.send(NOW)
    clinic.agent.prepare(ROWS, NOW + 10)
    clinic.service.down = False
    assert clinic.agent.send(NOW + 20).accepted == 3
    records = opened(clinic.service.accepted(), ring)
    assert [r.sequence for r in records] == [1, 2, 3]
    assert len(clinic.service.bodies) == 2


def test_confirmed_bytes_are_dropped(clinic: Clinic, ring: Keyring, tmp_path: Path) -> None:
    clinic.link("p1", ring)
    clinic.agent.prepare(ROWS, NOW)
    clinic.agent.send(NOW)
    clinic.close()
    with sqlite3.connect(tmp_path / "state.db") as database:
        assert database.execute("SELECT number, body, delivered FROM outbox").fetchall() == [(1, None, 1)]
    database.close()
    clinic.restart()


def test_a_retired_epoch_is_refreshed_and_sealed_again(clinic: Clinic, ring: Keyring) -> None:
    """The refused records go out again under the new key, and no others; the resident reads each once."""
    other = Keyring.create(["smoking"], NOW)
    link_id = clinic.link("p1", ring)
    clinic.link("p2", other)
    clinic.service.judge = current_only(ring, other)
    clinic.agent.prepare([*ROWS, smoking("p2", 2020)], NOW)
    ring.new_epochs(["smoking"], NOW + 10)
    ring.new_epochs(["smoking"], NOW + 20)
    sent = clinic.agent.send(NOW + 30)
    assert (sent.accepted, sent.refused) == (1, {"retired_epoch": 3})
    assert clinic.state.link_by_id(link_id).statements == ring.statements
    assert clinic.agent.prepare([*ROWS, smoking("p2", 2020)], NOW + 40) == 3
    sent = clinic.agent.send(NOW + 40)
    assert (sent.accepted, sent.refused) == (3, {})
    records = opened([i for i in clinic.service.accepted() if i["link_id"] == link_id], ring)
    assert [r.data for r in records] == [row.data for row in ROWS]
    assert [r.sequence for r in records] == [1, 2, 3]


@pytest.mark.parametrize("code", ["unknown_link", "collection_not_registered", "malformed"])
def test_what_is_refused_is_not_forgotten(clinic: Clinic, ring: Keyring, code: str) -> None:
    """A resident who hands in the link a minute late still gets everything."""
    clinic.link("p1", ring)
    clinic.service.judge = lambda _item: {"refused": code}
    clinic.agent.prepare(ROWS, NOW)
    sent = clinic.agent.send(NOW)
    assert (sent.accepted, sent.refused) == (0, {code: 3})
    clinic.service.judge = current_only(ring)
    assert clinic.agent.prepare(ROWS, NOW + 60) == 3
    assert clinic.agent.send(NOW + 60).accepted == 3
    assert [r.sequence for r in opened(clinic.service.accepted(), ring)] == [1, 2, 3]


def test_sequence_numbers_have_no_gaps_whatever_is_refused(clinic: Clinic, ring: Keyring) -> None:
    """Two batches wait; the first is refused, the second taken: its numbers are filled in later."""
    clinic.link("p1", ring)
    clinic.agent.prepare(ROWS[:2], NOW)
    clinic.agent.prepare(ROWS, NOW + 1)
    refusals = iter([{"refused": "unknown_link"}])
    clinic.service.judge = lambda item: next(refusals, {"accepted": len(item["records"])})
    assert clinic.agent.send(NOW + 2).accepted == 1
    more = [*ROWS, *(smoking("p1", year) for year in range(1990, 2000))]
    assert clinic.agent.prepare(more, NOW + 3) == 12
    assert clinic.agent.send(NOW + 3).accepted == 12
    records = opened(clinic.service.accepted(), ring)
    assert sorted(r.sequence for r in records) == list(range(1, 14))
    assert gaps(records) == []


def test_delivery_numbers_count_up_across_restarts(clinic: Clinic, ring: Keyring) -> None:
    clinic.link("p1", ring)
    for number, row in enumerate(ROWS, 1):
        clinic.agent.prepare([row], NOW)
        clinic.agent.send(NOW)
        clinic.restart()
        assert Delivery.claimed(json.loads(clinic.service.bodies[-1])["delivery"]).number == number


def test_a_refused_token_stops_before_anything_is_sent(clinic: Clinic, ring: Keyring) -> None:
    clinic.link("p1", ring)
    clinic.agent.prepare(ROWS, NOW)
    refuse = httpx.Response(401, json={"code": "stale_assertion", "detail": "no"})
    with httpx.Client(transport=httpx.MockTransport(lambda _: refuse), base_url="http://service") as http:
        clinic.agent.http = http
        with pytest.raises(RefusedError) as caught:
            clinic.agent.send(NOW)
    assert caught.value.code == "stale_assertion"
    assert (clinic.service.bodies, len(list(clinic.state.outbox()))) == ([], 1)


def test_any_other_fault_of_a_key_is_not_passed_over(clinic: Clinic, ring: Keyring) -> None:
    """A state whose pinned chain no longer holds stops the source; it never seals to a doubtful key."""
    link_id = clinic.link("p1", ring)
    other = Keyring.create(["smoking"], NOW)
    clinic.state.set_statements(link_id, other.statements)
    with pytest.raises(KeyStatementError):
        clinic.agent.prepare(ROWS, NOW)
    assert list(clinic.state.outbox()) == []
