"""What the resident's client refuses from a service that lies: keys, records, log. The service here is a function."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from consent.model import Grant, GrantState, Refusal, SubjectHead, Withdrawal
from dataspace.kernel.encoding import b64, canonical, digest, unb64
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.http import RefusedError
from dataspace.kernel.jws import SigningKey, verify
from dataspace.kernel.signed import SignedContent
from tests.fakes import papers
from tests.fakes.logs import LOG_KEY, ORIGIN, WITNESS_KEY, WITNESS_NAME, FakeLog
from vault.client import ClientPins, ResidentClient
from vault.envelope import SlotContext, seal_record, seal_slot
from vault.granting import GrantKeyContext, open_grant_key
from vault.keyring import Keyring
from vault.records import sign_record
from vault.recovery import entropy_of, unwrap_vault_key
from vault.statements import follow
from vault.suite1 import OpeningKey, SealingKey

PINS = ClientPins(
    audience="urn:test",
    registrar=papers.REGISTRAR.public,
    broker=papers.BROKER.public,
    log_origin=ORIGIN,
    log_key=LOG_KEY.public,
    witnesses={WITNESS_NAME: WITNESS_KEY.public},
    witness_quorum=1,
)
PAGE = 2


@dataclass
class Service:
    """Keeps one resident's things; a test changes ``records`` or ``log`` to make it lie."""

    log: FakeLog = field(default_factory=FakeLog)
    heads: FakeLog | None = None
    """What the broker has acted on, when that is not what the log shows."""
    statements: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=lambda: [papers.REGISTERED_SOURCE.sign(papers.REGISTRAR)])
    records: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    subject: str = ""
    change_page: Callable[[dict[str, Any]], dict[str, Any]] = dict
    size: int | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else {}
        path = request.url.path
        self.calls.append((path, body))
        if path == "/v1/me/log":
            return httpx.Response(200, json=self.change_page(self.page(int(request.url.params["after"]))))
        if path == "/v1/log/consistency":
            sizes = parse_qs(request.url.query.decode())
            old, new = int(sizes["from_size"][0]), int(sizes["to_size"][0])
            return httpx.Response(200, json={"hashes": self.log.consistency(old, new)})
        answers: dict[str, Any] = {
            "/v1/token": {"token": "t"},
            "/v1/residents": {"token": "t"},
            "/v1/me/records": {"statements": self.statements, "sources": self.sources, "records": self.records},
            "/v1/me/links": {"linked": len(body.get("links", []))},
            "/v1/me/handles": {"handle": "h"},
            "/v1/me/asks": {"asks": []},
            "/v1/me/grants": {"grants": [], "grant_digest": "d"},
            "/v1/me/refusals": {"receipt": "r"},
            "/v1/me/withdrawals": {"state": "withdrawn"},
        }
        return httpx.Response(200, json=answers[path])

    def page(self, after: int) -> dict[str, Any]:
        size = len(self.log.bodies) if self.size is None else self.size
        mine = [
            index
            for index, body in enumerate(self.log.bodies[:size])
            if (entry := json.loads(body)).get("subject") == self.subject and entry["number"] > after
        ]
        number, entry = (self.heads or self.log).heads.get(self.subject, (0, None))
        head = SubjectHead(subject=self.subject, number=number, entry=entry, at=papers.NOW)
        return {
            "checkpoint": self.log.note(size),
            "size": size,
            "entries": [self.log.bundle(index, size) for index in mine[:PAGE]],
            "more": len(mine) >= PAGE,
            "head": head.sign(papers.BROKER),
        }

    def last(self, path: str) -> dict[str, Any]:
        return next(body for called, body in reversed(self.calls) if called == path)


class Clock:
    def __init__(self) -> None:
        self.now = float(papers.NOW)

    def __call__(self) -> float:
        return self.now


def at(service: Service, ring: Keyring | None = None) -> ResidentClient:
    ring = ring or papers.keyring()
    service.subject = ring.subject
    service.statements = service.statements or list(ring.statements)
    http = httpx.Client(transport=httpx.MockTransport(service), base_url="http://service")
    return ResidentClient(http, PINS, ring, Clock())


def code_of(attempt: Any, *arguments: Any) -> str:
    with pytest.raises(DataspaceError) as refused:
        attempt(*arguments)
    return refused.value.code


# access


def test_a_new_resident_registers_with_its_first_statement_and_wraps_it_can_open_by_words() -> None:
    service = Service()
    http = httpx.Client(transport=httpx.MockTransport(service), base_url="http://service")
    client, words = ResidentClient.create(http, PINS, ["wages"], "en", Clock())
    client.register("space")
    sent = service.last("/v1/residents")
    assert follow([sent["statement"]], client.subject).epochs.keys() == {"wages"}
    vault_key = unwrap_vault_key(entropy_of(words, "en"), client.subject, unb64(sent["wraps"]["recovery"]))
    opened = Keyring.unwrap(vault_key, sent["wraps"], [sent["statement"]], client.subject)
    assert opened.seeds == client.ring.seeds
    claims = verify(sent["assertion"], "assertion", client.ring.signing.public).payload
    assert (claims["aud"], claims["sub"], claims["role"]) == ("urn:test", client.subject, "resident")
    assert claims["exp"] - claims["iat"] == 60


def test_a_token_is_fetched_once_while_it_is_good() -> None:
    service = Service()
    client = at(service)
    client.new_handle("operator")
    client.hand_in_links(["a link"])
    clock = client.clock
    assert isinstance(clock, Clock)
    clock.now += 240
    assert (client.asks(), client.grants()) == ([], [])
    assert [path for path, _ in service.calls].count("/v1/token") == 2


def test_a_refusal_keeps_its_code() -> None:
    http = httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(409, json={"code": "too_late", "detail": "x"})),
        base_url="http://service",
    )
    with pytest.raises(RefusedError) as refused:
        ResidentClient(http, PINS, papers.keyring()).register("space")
    assert (refused.value.code, refused.value.status) == ("too_late", 409)


# records


def stored(place: SlotContext = papers.PLACE, key: SigningKey = papers.SOURCE, **changes: Any) -> dict[str, Any]:
    record = replace(papers.RECORD, collection=place.collection, source_id=place.source_id)
    payload = sign_record(key, record, place.epoch_key, papers.DATA)
    item = {
        "record_id": record.record_id,
        "slot_id": place.slot_id,
        "collection": place.collection,
        "epoch_key": place.epoch_key,
        "source_id": place.source_id,
        "slot": b64(seal_slot(SealingKey(papers.EPOCH.key), place, papers.SLOT_KEY)),
        "sealed": b64(seal_record(papers.SLOT_KEY, record.record_id, place, payload)),
    }
    return item | changes


def test_own_records_open_also_after_a_new_epoch() -> None:
    ring = papers.keyring()
    ring.new_epochs(["wages", "vitals"], papers.NOW, papers.seeds("second"))
    service = Service(records=[stored()])
    for _ in range(2):
        records, slots = at(service, ring).records()
        assert records == [papers.RECORD]
        assert slots.keys() == {papers.PLACE.slot_id}
    service.records.append(stored())
    assert len(at(service, ring).records()[0]) == 2


@pytest.mark.parametrize(
    ("records", "code"),
    [
        ([stored(epoch_key=digest("test", "another"))], "substituted_epoch_key"),
        ([stored(collection="vitals")], "substituted_epoch_key"),
        ([stored(record_id="another")], "cannot_open"),
        ([stored(slot_id="another")], "cannot_open"),
        ([stored(slot=stored()["sealed"])], "cannot_open"),
        ([stored(key=papers.OPERATOR)], "signature_invalid"),
        ([stored(replace(papers.PLACE, source_id="nobody"))], "unknown_source"),
    ],
)
def test_records_that_are_not_what_a_registered_source_sealed(records: list[dict[str, Any]], code: str) -> None:
    assert code_of(at(Service(records=records)).records) == code


def test_a_source_that_the_registrar_has_not_signed_for_this_collection() -> None:
    other = papers.REGISTERED_SOURCE.model_copy(update={"collections": ("vitals",)})
    for sources, code in (
        ([papers.REGISTERED_SOURCE.sign(papers.OPERATOR)], "signature_invalid"),
        ([other.sign(papers.REGISTRAR)], "unknown_source"),
        ([], "unknown_source"),
    ):
        assert code_of(at(Service(records=[stored()], sources=sources)).records) == code


def test_statements_never_go_back_behind_those_of_this_device() -> None:
    ring, forked = papers.keyring(), papers.keyring()
    first = list(ring.statements)
    ring.new_epochs(["wages"], papers.NOW, papers.seeds("second"))
    forked.new_epochs(["wages"], papers.NOW, papers.seeds("forked"))
    for shown in (first, forked.statements, [*reversed(ring.statements)], ["x"]):
        assert code_of(at(Service(statements=shown), ring).records) == "key_statement_rolled_back"
    at(Service(statements=[*ring.statements, "made by another device"]), ring).records()


# answers


def test_a_grant_is_sealed_to_the_broker_and_signed() -> None:
    service, asked = Service(records=[stored()]), papers.ask()
    client = at(service)
    terms = papers.terms(asked, client.ring)
    broker = OpeningKey(papers.GRANT_SEED)
    assert client.grant(canonical(terms.model_dump(mode="json")), broker.public, client.records()[1]) == "d"
    sent = service.last("/v1/me/grants")
    assert Grant.verify(sent["grant"], client.ring.signing.public).grant == terms
    context = GrantKeyContext(terms.digest(), "wages", papers.PLACE.epoch_key, "slot", papers.PLACE.slot_id)
    assert open_grant_key(broker, context, unb64(sent["sealed"][0])) == papers.SLOT_KEY


def sent_as(kind: type[SignedContent], token: str, client: ResidentClient) -> Any:
    return kind.verify(token, client.ring.signing.public)


def test_refusal_and_withdrawal_are_signed_and_an_ongoing_one_starts_new_epochs() -> None:
    service, grant = Service(), digest("test", "grant")
    client = at(service)
    assert client.refuse(digest("test", "request")) == "r"
    refusal = sent_as(Refusal, service.last("/v1/me/refusals")["refusal"], client)
    assert refusal.request_digest == digest("test", "request")
    assert client.withdraw(grant, []) == "withdrawn"
    body = service.last("/v1/me/withdrawals")
    assert body.keys() == {"withdrawal"}
    assert sent_as(Withdrawal, body["withdrawal"], client).key_statement is None
    client.withdraw(grant, ["wages"])
    body = service.last("/v1/me/withdrawals")
    chain = follow([client.ring.statements[0], body["key_statement"]], client.subject)
    assert sent_as(Withdrawal, body["withdrawal"], client).key_statement == chain.head
    assert chain.epochs["wages"].epoch == 2
    assert Keyring.unwrap(client.ring.vault_key, body["wraps"], client.ring.statements, client.subject).chain == chain


def test_a_withdrawal_without_answer_is_sent_again_as_it_was() -> None:
    service, grant, outages = (
        Service(),
        digest("test", "grant"),
        [httpx.Response(503, json={"code": "log_unavailable"})],
    )
    client = at(service)
    client.grants()

    def failing_once(request: httpx.Request) -> httpx.Response:
        answer = service(request)
        return outages.pop() if outages else answer

    client.http = httpx.Client(transport=httpx.MockTransport(failing_once), base_url="http://service")
    assert code_of(client.withdraw, grant, ["wages"]) == "log_unavailable"
    assert client.withdraw(grant, ["wages"]) == "withdrawn"
    first, second = [body for path, body in service.calls if path == "/v1/me/withdrawals"]
    assert first == second
    assert len(client.ring.statements) == 2


def test_only_the_pinned_brokers_word_says_destroyed() -> None:
    client, grant = at(Service()), digest("test", "grant")
    for state in ("destroyed", "active"):
        word = GrantState(grant_digest=grant, state=state, at=papers.NOW)
        assert client.destroyed(grant, word.sign(papers.BROKER)) is (state == "destroyed")
        assert not client.destroyed(digest("test", "another grant"), word.sign(papers.BROKER))
        assert code_of(client.destroyed, grant, word.sign(papers.SERVICE)) == "signature_invalid"


# the log


def log_of(subject: str, count: int) -> FakeLog:
    made = FakeLog()
    for number in range(count):
        made.add("use.decided", subject, run_id=f"run-{number}")
        made.add("use.decided", "somebody else")
    return made


ME = papers.keyring().subject


def test_the_whole_log_is_proven_page_by_page_and_then_its_growth() -> None:
    service = Service(log=log_of(ME, 5))
    client = at(service)
    assert [entry.body["number"] for entry in client.check_log()] == [1, 2, 3, 4, 5]
    assert client.check_log() == []
    service.log.add("grant.withdrawn", ME)
    assert [entry.body["kind"] for entry in client.check_log()] == ["grant.withdrawn"]
    assert len(client.seen.entries) == client.seen.number == 6


def test_a_resident_without_entries_has_an_empty_log() -> None:
    client = at(Service(log=log_of("somebody", 1)))
    assert client.check_log() == []


def test_a_shortened_log_is_refused() -> None:
    service = Service(log=log_of(ME, 3))
    client = at(service)
    client.check_log()
    service.size = 4
    assert code_of(client.check_log) == "log_rolled_back"


def test_a_forked_log_is_refused_at_the_same_size_and_at_a_later_one() -> None:
    service = Service(log=log_of(ME, 1))
    client = at(service)
    client.check_log()
    service.log = log_of(ME, 0)
    service.log.add("use.decided", ME, run_id="another")
    service.log.add("use.decided", ME, run_id="another")
    assert code_of(client.check_log) == "log_forked"
    service.log.add("use.decided", ME)
    assert code_of(client.check_log) == "proof_invalid"
    assert client.seen.size == 2


def test_an_entry_that_the_broker_has_acted_on_cannot_be_hidden() -> None:
    shown, acted_on = log_of(ME, 1), log_of(ME, 1)
    acted_on.add("use.decided", ME, run_id="hidden")
    assert code_of(at(Service(log=shown, heads=acted_on)).check_log) == "log_entry_missing"
    rewritten = log_of(ME, 1)
    rewritten.add("use.decided", ME, run_id="rewritten")
    assert code_of(at(Service(log=rewritten, heads=acted_on)).check_log) == "proof_invalid"


def test_an_entry_left_out_is_missed() -> None:
    service = Service(log=log_of(ME, 5))
    service.change_page = lambda page: {**page, "entries": page["entries"][1:]}
    assert code_of(at(service).check_log) == "log_entry_missing"


def test_a_log_that_always_has_more_and_never_shows_it_does_not_hold_the_client_up() -> None:
    service = Service(log=log_of(ME, 1))
    service.change_page = lambda page: {**page, "entries": [], "more": True}
    assert code_of(at(service).check_log) == "log_entry_missing"


def test_a_log_without_witness_is_refused() -> None:
    service = Service(log=log_of(ME, 1))
    service.change_page = lambda page: {**page, "checkpoint": service.log.note(witnessed=False)}
    assert code_of(at(service).check_log) == "witness_missing"


def test_only_the_brokers_word_about_this_resident_counts() -> None:
    _, entry = log_of(ME, 1).heads[ME]
    head = SubjectHead(subject=ME, number=1, entry=entry, at=papers.NOW)
    for word, code in (
        (head.sign(papers.SERVICE), "signature_invalid"),
        (head.model_copy(update={"subject": papers.signing_key("x").kid}).sign(papers.BROKER), "proof_invalid"),
        (head.model_copy(update={"entry": None}).sign(papers.BROKER), "log_entry_missing"),
    ):
        service = Service(log=log_of(ME, 1))
        service.change_page = lambda page, word=word: {**page, "head": word}
        assert code_of(at(service).check_log) == code
