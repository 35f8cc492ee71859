"""Bad input at the HTTP border: one status, one stable code, problem details, nothing changed, nothing repeated."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import httpx
import pytest
import structlog
from dataspace_sdk import Ask
from fastapi import FastAPI
from sqlalchemy.exc import IntegrityError

from dataspace.api import problems
from dataspace.app import create_app
from dataspace.identity.access import Role, write_assertion
from dataspace.kernel.encoding import b64, canonical, digest
from dataspace.kernel.ids import random_id
from dataspace.kernel.jws import SigningKey, parse
from dataspace.settings import Settings
from demo.city import until
from demo.operators import BANK, RESEARCHER
from demo.people import Person
from tests.api.callers import SOURCE, Callers, changed, refusal
from vault.client import ResidentClient
from vault.suite1 import HPKE_OVERHEAD, KEY_BYTES

CANARY = "canary-4711-zhangsan"
POSTS = {
    "/v1/token": None,
    "/v1/residents": None,
    "/v1/register": None,
    "/v1/me/links": "resident",
    "/v1/me/grants": "resident",
    "/v1/me/refusals": "resident",
    "/v1/me/withdrawals": "resident",
    "/v1/me/handles": "resident",
    "/v1/source/deliveries": "source",
    "/v1/products": "operator",
    "/v1/requests": "operator",
    "/v1/requests/" + "A" * 43 + "/answer": "operator",
}
SIGNED = {
    "/v1/token": "assertion",
    "/v1/me/refusals": "refusal",
    "/v1/me/withdrawals": "withdrawal",
    "/v1/requests": "request",
}
"""Routes whose whole body is one signed object, under this name."""


@pytest.fixture
def unchanged(callers: Callers) -> Iterator[None]:
    """The test leaves every table of service and broker as it was."""
    before = callers.state()
    yield
    assert not changed(before, callers.state())


@pytest.fixture(scope="module")
def members(callers: Callers) -> dict[str | None, str]:
    roles: tuple[Role, ...] = ("resident", "source", "operator")
    return {None: "", **{role: callers.token(role) for role in roles}}


Post = Callable[..., httpx.Response]


@pytest.fixture
def post(callers: Callers, members: dict[str | None, str]) -> Post:
    """As its rightful caller."""

    def send(path: str, body: object = None, **how: Any) -> httpx.Response:
        return callers.call("POST", path, body, token=members[POSTS[path]], **how)

    return send


# the body as a whole

UNREADABLE = {
    "nothing": b"",
    "not json": CANARY.encode(),
    "cut off": b'{"grant": "' + CANARY.encode(),
    "not an object": b'["' + CANARY.encode() + b'"]',
    "a string": b'"' + CANARY.encode() + b'"',
    "null": b"null",
    "not utf-8": b'{"grant": "\xff\xfe' + CANARY.encode() + b'"}',
    "a null byte": b'{"grant": "\x00"}',
    "nested deeply": b'{"grant": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested to the limit of the parser": b'{"grant": ' + b"[" * 900 + b"]" * 900 + b"}",
    "a huge integer": b'{"grant": ' + b"9" * 5000 + b"}",
    "unknown field": b'{"' + CANARY.encode() + b'": 1}',
    "unknown field, no unicode": b'{"\\ud800": 1}',
}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", POSTS)
def test_a_body_that_cannot_be_read(post: Post, path: str) -> None:
    for raw in UNREADABLE.values():
        refusal(post(path, raw=raw), 422, "invalid_body", CANARY, "\\ud800")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("media", ["", "text/plain", "application/xml", "multipart/form-data; boundary=x", "json"])
def test_a_body_of_another_media_type(post: Post, path: str, media: str) -> None:
    refusal(post(path, raw=b"{}", headers={"content-type": media}), 415, "media_type")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", POSTS)
def test_no_body_at_all(post: Post, path: str) -> None:
    refusal(post(path), 422, "invalid_body")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", ["/v1/me/handles", "/v1/requests"])
def test_an_oversized_body(callers: Callers, post: Post, path: str) -> None:
    limit = callers.world.city.settings.max_body_bytes
    refusal(post(path, raw=b"{}", headers={"content-length": str(limit + 1)}), 413, "body_too_large")
    refusal(post(path, raw=b"{}", headers={"content-length": "9" * 5000}), 413, "body_too_large")
    refusal(post(path, raw=b"{}", headers={"content-length": "many"}), 413, "body_too_large")


def test_an_oversized_body_without_a_length() -> None:
    """Chunked: nobody says how much is coming; the service stops reading once it is too much."""
    app = create_app(Settings(max_body_bytes=10_000))
    sent: list[int] = []

    async def chunks() -> AsyncIterator[bytes]:
        for number in range(1000):
            sent.append(number)
            yield b" " * 1000

    async def call() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service") as http:
            return await http.post("/v1/token", content=chunks(), headers={"content-type": "application/json"})

    refusal(anyio.run(call), 413, "body_too_large")
    assert len(sent) <= 12


FIELDS: dict[str, dict[str, Any]] = {
    "/v1/token": {"assertion": "a" * 30},
    "/v1/register": {"objects": ["a" * 30]},
    "/v1/me/links": {"links": ["a" * 30]},
    "/v1/me/grants": {"grant": "a" * 30, "sealed": ["a" * 30]},
    "/v1/me/refusals": {"refusal": "a" * 30},
    "/v1/me/withdrawals": {"withdrawal": "a" * 30},
    "/v1/me/handles": {"operator_id": "somebody"},
    "/v1/source/deliveries": {"delivery": "a" * 30, "items": [{}]},
    "/v1/products": {"product": "a" * 30, "listing": "a" * 30},
    "/v1/requests": {"request": "a" * 30},
}
WRONG: list[Any] = [
    None,
    True,
    -1,
    1.5,
    math.nan,
    math.inf,
    10**400,
    "",
    "\x00" * 40,
    "\ud800" * 40,
    CANARY + " 张三",
    [CANARY],
    {CANARY: CANARY},
    [[[[]]]],
]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", FIELDS)
def test_a_field_of_another_type(post: Post, path: str) -> None:
    for name in FIELDS[path]:
        for value in WRONG:
            for wrong in (value, [value]):
                raw = json.dumps({**FIELDS[path], name: wrong}).encode()
                answer = post(path, raw=raw.replace(b"Infinity", b"1e999") if value is math.inf else raw)
                assert answer.status_code in (400, 422), (name, wrong, answer.text)
                refusal(answer, answer.status_code, answer.json()["code"], CANARY, "张三")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", FIELDS)
def test_an_unknown_or_missing_field(post: Post, path: str) -> None:
    problem = refusal(post(path, {**FIELDS[path], CANARY: 1}), 422, "invalid_body", CANARY)
    assert "not known here" in problem["detail"]
    for name in FIELDS[path]:
        short = {key: value for key, value in FIELDS[path].items() if key != name}
        assert f"body.{name}" in refusal(post(path, short), 422, "invalid_body")["detail"]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("value", ["-1", "x", "1.5", "NaN", str(2**53), "9" * 400, "%00", ""])
def test_a_parameter_that_is_no_number(callers: Callers, members: dict[str | None, str], value: str) -> None:
    for role, path in (
        ("resident", "/v1/me/log?after="),
        ("source", f"/v1/source/links/{random_id()}/statements?after="),
        (None, "/v1/log/consistency?to_size=1&from_size="),
    ):
        refusal(callers.call("GET", path + value, token=members[role]), 422, "invalid_body")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("value", ["%00", "%ff%fe", "x" * 65, "%E5%BC%A0%E4%B8%89", "a b"])
def test_a_name_in_a_path_that_is_no_name(callers: Callers, members: dict[str | None, str], value: str) -> None:
    for role, method, path in (
        ("source", "GET", f"/v1/source/links/{value}/statements"),
        ("operator", "POST", f"/v1/requests/{value}/answer"),
    ):
        body: dict[str, Any] | None = {} if method == "POST" else None
        refusal(callers.call(method, path, body, token=members[role]), 422, "invalid_body", "张三")


def test_sizes_that_the_log_never_had(callers: Callers) -> None:
    for sizes in ("from_size=2&to_size=1", f"from_size=1&to_size={2**53 - 1}", f"from_size={2**53 - 1}&to_size=0"):
        refusal(callers.call("GET", f"/v1/log/consistency?{sizes}"), 400, "proof_invalid")


def test_a_route_or_method_that_is_not_there(callers: Callers) -> None:
    refusal(callers.call("GET", f"/v1/{CANARY}"), 404, "not_found", CANARY)
    answer = callers.call("DELETE", "/v1/health")
    refusal(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


def test_faults_inside_tell_nothing() -> None:
    """Two writers of one row, and a defect of our own: a status and a code, and not a word of what went wrong."""
    app = FastAPI()
    problems.install(app)

    @app.get("/raced")
    def raced() -> None:
        raise IntegrityError(f"INSERT {CANARY}", {"x": CANARY}, ValueError(CANARY))

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError(CANARY)

    async def get(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
            return await http.get(path)

    refusal(anyio.run(get, "/raced"), 409, "conflict", CANARY)
    with structlog.testing.capture_logs() as logged:
        refusal(anyio.run(get, "/broken"), 500, "internal_error", CANARY)
    assert logged == [{"event": "unhandled", "log_level": "error", "path": "/broken", "error": "RuntimeError"}]


# signed objects


def respelled(key: SigningKey, typ: str, payload: bytes, header: bytes | None = None) -> str:
    """A signature over exactly these bytes, whatever their spelling."""
    head = header or canonical({"alg": "Ed25519", "kid": key.kid, "typ": f"pds-{typ}+jws"})
    signing_input = f"{b64(head)}.{b64(payload)}"
    return f"{signing_input}.{b64(key.sign_raw(signing_input.encode()))}"


def claims_of(callers: Callers, path: str) -> tuple[SigningKey, str, dict[str, Any]]:
    """Key, type and well-formed content of what ``path`` takes."""
    me, now = callers.person.client.subject, callers.now
    common = {"v": 1, "suite": 1, "issued_at": now}
    if path == "/v1/token":
        times = {"iat": now, "exp": now + 60}
        claims = {"v": 1, "suite": 1, "aud": callers.access.audience, "role": "resident", "sub": me, **times}
        return callers.key("resident", me), "assertion", {**claims, "jti": random_id()}
    if path == "/v1/requests":
        product = callers.world.outcome.listed["A"]
        rest = {
            "request_id": random_id(),
            "operator_id": BANK,
            "product_digest": product.digest,
            "purpose": "research",
            "parameters": {},
            "subject": {"kind": "cohort", "handle": None},
            "result_key": b64(bytes(1216)),
            "nonce": random_id(),
            "not_after": now + 600,
        }
        return callers.key("operator", BANK), "use-request", {**common, **rest}
    if path == "/v1/me/refusals":
        rest = {"request_digest": "A" * 43, "subject": me, "nonce": random_id()}
        return callers.key("resident", me), "refusal", {**common, **rest}
    rest = {"grant_digest": "A" * 43, "subject": me, "key_statement": None}
    return callers.key("resident", me), "withdrawal", {**common, **rest}


def spaced(claims: dict[str, Any]) -> bytes:
    return json.dumps(claims, sort_keys=True).encode()


def unsorted(claims: dict[str, Any]) -> bytes:
    return json.dumps(dict(sorted(claims.items(), reverse=True)), separators=(",", ":")).encode()


def duplicated(claims: dict[str, Any]) -> bytes:
    return b'{"v":2,' + canonical(claims)[1:]


def with_number(text: str) -> Callable[[dict[str, Any]], bytes]:
    name = b'"zzz":'
    return lambda claims: canonical(claims)[:-1] + b"," + name + text.encode() + b"}"


CORE = {"jti", "nonce", "grant_digest"}
SPELLINGS: dict[str, tuple[Callable[[dict[str, Any]], bytes], str]] = {
    "spaces": (spaced, "not_canonical"),
    "order": (unsorted, "not_canonical"),
    "duplicate keys": (duplicated, "not_canonical"),
    "a byte order mark": (lambda claims: b"\xef\xbb\xbf" + canonical(claims), "not_canonical"),
    "utf-16": (lambda claims: canonical(claims).decode().encode("utf-16"), "not_canonical"),
    "not utf-8": (lambda claims: canonical(claims)[:-1] + b',"zzz":"\xff"}', "malformed"),
    "a float": (with_number("1.0"), "not_canonical"),
    "NaN": (with_number("NaN"), "not_canonical"),
    "1e999": (with_number("1e999"), "not_canonical"),
    "a big integer": (with_number(str(2**53)), "malformed"),
    "a huge integer": (with_number("9" * 5000), "malformed"),
    "a lone surrogate": (with_number('"\\ud800"'), "malformed"),
    "nested deeply": (with_number("[" * 50_000 + "]" * 50_000), "malformed"),
    "an array": (lambda claims: canonical([claims]), "malformed"),
    "another version": (lambda claims: canonical({**claims, "v": 2}), "unknown_format"),
    "another suite": (lambda claims: canonical({**claims, "suite": 2}), "unknown_format"),
    "an unknown member": (lambda claims: canonical({**claims, "zzz": CANARY}), "malformed"),
    "a missing member": (lambda claims: canonical({k: v for k, v in claims.items() if k not in CORE}), "malformed"),
}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", SIGNED)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_signed_bytes_in_another_spelling(callers: Callers, post: Post, path: str, spelling: str) -> None:
    key, typ, claims = claims_of(callers, path)
    write, code = SPELLINGS[spelling]
    refusal(post(path, {SIGNED[path]: respelled(key, typ, write(claims))}), 400, code, CANARY)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", SIGNED)
def test_signed_objects_nested_to_the_limit_of_the_parser(callers: Callers, post: Post, path: str) -> None:
    """Near Python's recursion limit the parser may still succeed where what follows does not: never a 5xx."""
    key, typ, claims = claims_of(callers, path)
    for depth in range(600, 1000, 4):
        payload = with_number("[" * depth + "]" * depth)(claims)
        answer = post(path, {SIGNED[path]: respelled(key, typ, payload)})
        assert answer.status_code in (400, 422), (depth, answer.text)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", SIGNED)
def test_signatures_that_do_not_hold(callers: Callers, post: Post, path: str) -> None:
    key, typ, claims = claims_of(callers, path)
    good = respelled(key, typ, canonical(claims))
    head, payload, signature = good.split(".")
    none = canonical({"alg": "none", "kid": key.kid, "typ": f"pds-{typ}+jws"})
    hmac = canonical({"alg": "HS256", "kid": key.kid, "typ": f"pds-{typ}+jws"})
    extra = canonical({"alg": "Ed25519", "jwk": {}, "kid": key.kid, "typ": f"pds-{typ}+jws"})
    wrong = {
        f"{head}.{payload}": "malformed",
        f"{good}.x": "malformed",
        f"{head}.{payload}.": "malformed",
        f"{head}.{payload}.{signature[:-2]}": "malformed",
        respelled(key, typ, canonical(claims), none): "malformed",
        respelled(key, typ, canonical(claims), hmac): "malformed",
        respelled(key, typ, canonical(claims), extra): "malformed",
        respelled(key, "grant-state", canonical(claims)): "malformed|signature_invalid",
        f"{head}.{payload}.{b64(bytes(64))}": "signature_invalid|assertion_refused|product_not_listed",
    }
    for token, codes in wrong.items():
        answer = post(path, {SIGNED[path]: token})
        assert answer.json()["code"] in codes.split("|"), answer.text
        refusal(answer, answer.status_code, answer.json()["code"])
        assert answer.status_code in (400, 401)


# assertions


@pytest.mark.usefixtures("unchanged")
def test_stale_and_replayed_assertions(callers: Callers, post: Post) -> None:
    me = callers.person.client.subject
    key = callers.key("resident", me)

    def prove(at: int, audience: str = callers.access.audience) -> httpx.Response:
        token = write_assertion(key, audience, "resident", me, random_id(), at)
        return post("/v1/token", {"assertion": token})

    refusal(prove(callers.now - 61), 401, "stale_assertion")
    refusal(prove(callers.now + 60), 401, "stale_assertion")
    refusal(prove(callers.now, "urn:pds:elsewhere"), 401, "assertion_audience", "elsewhere")
    once = {"assertion": callers.assertion("resident", me)}
    assert post("/v1/token", once).status_code == 200
    refusal(post("/v1/token", once), 401, "replayed_assertion")
    body = {
        **once,
        "statement": callers.person.client.ring.statements[0],
        "wraps": {"signing_key": "a" * 30, "epochs": [], "recovery": "a" * 30},
        "space": "nhefs",
    }
    refusal(post("/v1/residents", body), 401, "replayed_assertion")
    fresh = {**body, "assertion": callers.assertion("resident", me)}
    refusal(post("/v1/residents", fresh), 409, "already_registered")


def test_the_same_registration_objects_again(callers: Callers, post: Post) -> None:
    """Entered once: the same licence again changes nothing, and a replaced one does not come back."""
    registrar, space = callers.world.city.registrar, callers.world.programs.space
    key = callers.key("operator", "an-operator")

    def licence(at: int) -> str:
        registrar.now, before = at, registrar.now
        try:
            return registrar.licence("an-operator", ("某", "Some"), key.public, [], [])
        finally:
            registrar.now = before

    old, new = licence(callers.now), licence(callers.now + 10)
    assert post("/v1/register", {"objects": [old]}).json() == {"entered": 1}
    before = callers.state()
    assert post("/v1/register", {"objects": [old, old]}).json() == {"entered": 2}
    assert not changed(before, callers.state())
    assert post("/v1/register", {"objects": [new]}).json() == {"entered": 1}
    before = callers.state()
    refusal(post("/v1/register", {"objects": [old]}), 409, "register_rolled_back")
    refusal(post("/v1/register", {"objects": [new, callers.assertion("operator", BANK)]}), 400, "unknown_object")
    forged = SigningKey(bytes(32)).sign("licence", {"operator_id": CANARY})
    refusal(post("/v1/register", {"objects": [forged]}), 400, "signature_invalid", CANARY)
    assert not changed(before, callers.state())
    assert space.registrar == registrar.public


# deliveries


def delivery(callers: Callers, number: int, items: list[dict[str, Any]], **other: Any) -> dict[str, Any]:
    cover = {
        "source_id": SOURCE,
        "delivery_id": random_id(),
        "number": number,
        "items": digest("delivery-items", canonical(items)),
        "issued_at": callers.now,
        **other,
    }
    return {"delivery": callers.key("source", SOURCE).sign("delivery", cover), "items": items}


def newcomer(callers: Callers) -> tuple[ResidentClient, str]:
    """A resident whom the hospital knows, and the link: what is delivered here cannot be opened and disturbs nobody."""
    city = callers.world.city
    client, _words = ResidentClient.create(city.service, city.pins, ["vitals"], clock=callers.world.clock)
    client.register("demo-district")
    link_id = random_id()
    claims = {
        "source_id": SOURCE,
        "link_id": link_id,
        "subject": client.subject,
        "statement": digest("key-statement", parse(client.ring.statements[0]).payload_bytes),
        "issued_at": callers.now,
    }
    client.hand_in_links([callers.key("source", SOURCE).sign("link", claims)])
    return client, link_id


def item(person: tuple[ResidentClient, str], **other: Any) -> dict[str, Any]:
    """A delivery of one record, in which the service cannot look at anything but sizes."""
    client, link_id = person
    chain = client.ring.chain
    assert chain is not None
    return {
        "link_id": link_id,
        "collection": "vitals",
        "epoch_key": chain.epochs["vitals"].key_digest,
        "slot_id": random_id(),
        "slot": b64(bytes(HPKE_OVERHEAD + KEY_BYTES)),
        "records": [{"record_id": random_id(), "sealed": b64(bytes(700))}],
        **other,
    }


def test_the_same_delivery_twice(callers: Callers, post: Post) -> None:
    person = newcomer(callers)
    body = delivery(callers, 9001, [item(person), item(person, link_id=random_id())])
    first = post("/v1/source/deliveries", body)
    assert [set(one) - {"link_id", "collection"} for one in first.json()["items"]] == [{"accepted"}, {"refused"}]
    before = callers.state()
    again = post("/v1/source/deliveries", body, headers={"idempotency-key": "another"})
    assert (again.status_code, again.content) == (first.status_code, first.content)
    other = delivery(callers, 9001, [item(person)])
    refusal(post("/v1/source/deliveries", other), 400, "delivery_number_taken")
    same_items = delivery(callers, 9001, body["items"])
    refusal(post("/v1/source/deliveries", same_items), 400, "delivery_number_taken")
    assert not changed(before, callers.state())


def test_items_that_cannot_be_taken_leave_the_others(callers: Callers, post: Post) -> None:
    person = newcomer(callers)
    good = item(person)
    record = good["records"][0]
    wrong = {
        "unknown_link": item(person, link_id=random_id()),
        "collection_not_registered": item(person, collection="wages"),
        "retired_epoch": item(person, epoch_key="A" * 43),
        "duplicate_slot": item(person, slot_id=good["slot_id"]),
        "duplicate_record": item(person, records=[record]),
        "record_size": item(person, records=[{"record_id": random_id(), "sealed": b64(bytes(10))}]),
        "malformed": item(person, slot=b64(bytes(10))),
        "not_canonical": item(person, records=[{"record_id": random_id(), "sealed": "AB"}]),
    }
    twice = item(person, records=[{**record, "record_id": "twice"}] * 2)
    body = delivery(callers, 9002, [good, *wrong.values(), twice])
    before = callers.state()
    answer = post("/v1/source/deliveries", body)
    outcomes = answer.json()["items"]
    assert outcomes[0]["accepted"] == 1
    assert [one.get("refused") for one in outcomes[1:]] == [*wrong, "duplicate_record"]
    after = callers.state()
    assert {name: after[name][0] - before[name][0] for name in changed(before, after)} == {
        "deliveries": 1,
        "log_body": 1,
        "log_chain": 0,
        "log_entry": 1,
        "vault_records": 1,
        "vault_slots": 1,
    }
    outcomes = post("/v1/source/deliveries", delivery(callers, 9003, [item(person, records=[record])])).json()["items"]
    assert [one["refused"] for one in outcomes] == ["duplicate_record"]
    taken = delivery(callers, 9004, [item(person, slot_id=good["slot_id"])])
    refusal(post("/v1/source/deliveries", taken), 400, "duplicate_slot")
    assert callers.state()["vault_slots"] == after["vault_slots"]


def test_deliveries_that_are_refused_whole(callers: Callers, post: Post) -> None:
    person = newcomer(callers)
    before = callers.state()
    items = [item(person)]
    deep = dict(items[0])
    for _ in range(500):
        deep = {"x": deep}
    for wrong, code, status in (
        ({**delivery(callers, 9010, items), "items": [item(person)]}, "delivery_cover_mismatch", 400),
        (delivery(callers, 9010, items, source_id="tax"), "delivery_cover_mismatch", 400),
        (delivery(callers, 0, items), "malformed", 400),
        (delivery(callers, 2**31, items), "malformed", 400),
        (delivery(callers, 9010, [{**items[0], CANARY: 1}]), "invalid_body", 422),
        (delivery(callers, 9010, [{**items[0], "records": []}]), "invalid_body", 422),
        ({**delivery(callers, 9010, items), "items": [deep]}, "invalid_body", 422),
        ({**delivery(callers, 9010, items), "items": [{**items[0], "slot": math.pi}]}, "invalid_body", 422),
    ):
        refusal(post("/v1/source/deliveries", wrong), status, code, CANARY)
    assert not changed(before, callers.state())


# the same request twice


def applicant(callers: Callers, number: int) -> Person:
    """Residents who have not been asked anything yet, each used by one test."""
    used = {person.label for person, _ in callers.world.outcome.applicants}
    return [p for p in callers.world.city.residents if p.label not in used and "tax" in p.numbers][number]


def asked(callers: Callers, person: Person) -> Ask:
    return callers.world.spaces[BANK].ask(callers.world.outcome.listed["S1"], handle=person.client.new_handle(BANK))


def capture(person: Person) -> list[tuple[str, dict[str, Any]]]:
    """Bodies that the client posts from now on."""
    seen: list[tuple[str, dict[str, Any]]] = []
    honest = person.client._call

    def keep(method: str, path: str, body: Any = None) -> dict[str, Any]:
        if method == "POST":
            seen.append((path, body))
        return honest(method, path, body)

    person.client._call = keep  # type: ignore[method-assign]
    return seen


def state_of(person: Person, grant_digest: str) -> str:
    return next(str(g["state"]) for g in person.client.grants() if g["grant_digest"] == grant_digest)


def test_the_same_request_twice(callers: Callers, post: Post) -> None:
    """One question, one key of the broker for it, one spent handle."""
    bank, person = callers.world.spaces[BANK], applicant(callers, 0)
    ask = bank.new_ask(callers.world.outcome.listed["S1"], handle=person.client.new_handle(BANK))
    body = {"request": ask.request}
    first = post("/v1/requests", body)
    assert first.status_code == 201
    before = callers.state()
    for headers in ({}, {"idempotency-key": "a"}, {"idempotency-key": "b"}):
        again = post("/v1/requests", body, headers=headers)
        assert (again.status_code, again.content) == (201, first.content)
    assert not changed(before, callers.state())
    assert [a.request.digest for a in person.verified_asks(callers.now)] == [ask.request_digest]


def test_the_same_cohort_request_twice(callers: Callers) -> None:
    ask = callers.world.outcome.asks["A"]
    token = callers.token("operator", RESEARCHER)
    before = callers.state()
    again = callers.call("POST", "/v1/requests", {"request": ask.request}, token=token)
    assert again.json() == {"request_digest": ask.request_digest, "status": "asked"}
    assert not changed(before, callers.state())


def test_the_same_refusal_twice(callers: Callers) -> None:
    person = applicant(callers, 1)
    asked(callers, person)
    seen = capture(person)
    receipt = person.client.refuse(person.verified_asks(callers.now)[0].request.digest)
    before = callers.state()
    token = callers.token("resident", person.client.subject)
    again = callers.call("POST", *seen[-1], token=token, headers={"idempotency-key": "other"})
    assert again.json() == {"receipt": receipt}
    assert person.client.refuse(asks_digest(seen[-1][1])) == receipt, "a new refusal of the same question"
    assert not changed(before, callers.state())


def asks_digest(body: dict[str, Any]) -> str:
    return str(parse(body["refusal"]).payload["request_digest"])


def test_grant_answer_and_withdrawal_twice(callers: Callers, post: Post) -> None:
    """Each act once, whoever repeats it: one grant, one use, one sealed answer, one destroyed key."""
    person = applicant(callers, 2)
    ask = asked(callers, person)
    token = callers.token("resident", person.client.subject)
    seen = capture(person)
    grant_digest = person.grant(person.verified_asks(callers.now)[0], callers.now, answer_shown=True)
    until(lambda: state_of(person, grant_digest) == "active")
    path, body = seen[-1]
    before = callers.state()
    again = callers.call("POST", path, body, token=token, headers={"idempotency-key": "other"})
    assert (again.status_code, again.json()) == (202, {"grant_digest": grant_digest})
    swapped = {**body, "sealed": [b64(bytes(1200))] * len(body["sealed"])}
    refusal(callers.call("POST", path, swapped, token=token), 400, "swapped_sealed_keys")
    assert not changed(before, callers.state())

    answers = [post_answer(callers, ask) for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        answers += pool.map(lambda _: post_answer(callers, ask), range(4))
    assert {one["answer"]["sealed"] for one in answers} == {answers[0]["answer"]["sealed"]}
    assert {one["answer"]["release"] for one in answers} == {answers[0]["answer"]["release"]}
    after = callers.state()
    grown = {name: after[name][0] - before[name][0] for name in changed(before, after)}
    assert (grown["runs"], grown["grant_uses"], grown["broker_uses"], grown["log_entry"]) == (1, 1, 1, 3)

    assert person.client.withdraw(grant_digest, []) == "withdrawn"
    before = callers.state()
    again = callers.call("POST", *seen[-1], token=token, headers={"idempotency-key": "other"})
    assert again.json() == {"state": "withdrawn"}
    assert not changed(before, callers.state())
    again = callers.call("POST", path, body, token=token)
    assert again.json() == {"grant_digest": grant_digest}, "the old grant comes back only by name"
    assert state_of(person, grant_digest) == "withdrawn"
    assert not changed(before, callers.state())


def fetch(callers: Callers, ask: Ask) -> httpx.Response:
    return callers.call("POST", f"/v1/requests/{ask.request_digest}/answer", {}, token=callers.token("operator", BANK))


def post_answer(callers: Callers, ask: Ask) -> dict[str, Any]:
    answer: dict[str, Any] = fetch(callers, ask).json()
    assert answer.get("status") == "answered", answer
    return answer


def test_two_first_answers_at_once(callers: Callers) -> None:
    """Whoever asks first and at the same time: one run, one use; the others get the same bytes or are told to wait."""
    person = applicant(callers, 3)
    ask = asked(callers, person)
    grant_digest = person.grant(person.verified_asks(callers.now)[0], callers.now, answer_shown=True)
    until(lambda: state_of(person, grant_digest) == "active")
    before = callers.state()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: fetch(callers, ask), range(4)))
    for waiting in (one for one in answers if one.status_code != 200):
        refusal(waiting, 409, "run_in_progress")
    answered = [one.json() for one in answers if one.status_code == 200]
    assert {one["answer"]["sealed"] for one in answered} == {post_answer(callers, ask)["answer"]["sealed"]}
    after = callers.state()
    grown = {name: after[name][0] - before[name][0] for name in changed(before, after)}
    assert (grown["runs"], grown["grant_uses"], grown["broker_uses"]) == (1, 1, 1)


def test_the_same_link_twice(callers: Callers) -> None:
    """The log says once that a link was made."""
    person = callers.world.city.study[1]
    seen = capture(person)
    person.link(callers.world.city.authorities)
    before = callers.state()
    token = callers.token("resident", person.client.subject)
    again = callers.call("POST", *seen[-1], token=token)
    assert again.json() == {"linked": len(person.numbers)}
    assert not changed(before, callers.state())


def test_the_same_product_twice(callers: Callers) -> None:
    listed = callers.world.outcome.listed["S1"]
    token = callers.token("operator", BANK)
    row = next(
        one
        for one in callers.call("GET", "/v1/products", token=token).json()["products"]
        if one["product_digest"] == listed.digest
    )
    before = callers.state()
    body = {"product": row["product"], "listing": row["listing"]}
    again = callers.call("POST", "/v1/products", body, token=token, headers={"idempotency-key": "other"})
    assert (again.status_code, again.json()) == (201, {"product_digest": listed.digest})
    stolen = callers.call("POST", "/v1/products", body, token=callers.token("operator", RESEARCHER))
    refusal(stolen, 400, "signature_invalid")
    assert not changed(before, callers.state())
