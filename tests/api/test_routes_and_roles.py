"""Every route × every role, and other people's ids: who may call what, and what a refusal gives away (nothing)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import text
from starlette.routing import BaseRoute

from dataspace.api.access import operator_subject, resident_subject, source_subject
from dataspace.api.routes import PUBLIC_PATHS, operator, public, resident, source
from dataspace.app import create_app
from dataspace.identity.access import Role
from dataspace.kernel.encoding import b64, digest
from dataspace.kernel.ids import random_id
from dataspace.settings import Settings
from demo.operators import BANK, RESEARCHER
from tests.api.callers import OTHER_SOURCE, STRANGER, Callers, changed, refusal

NOBODY = digest("nothing", "of this name")
OUTSIDE_THE_API = {"/openapi.json"}
"""Routes that FastAPI itself adds; they hold nobody's data."""

ROUTES: dict[tuple[str, str], tuple[Role | None, int]] = {
    ("GET", "/v1/health"): (None, 200),
    ("POST", "/v1/token"): (None, 422),
    ("POST", "/v1/residents"): (None, 422),
    ("POST", "/v1/register"): (None, 422),
    ("GET", "/v1/log/checkpoint"): (None, 200),
    ("GET", "/v1/log/consistency"): (None, 422),
    ("POST", "/v1/me/links"): ("resident", 422),
    ("GET", "/v1/me/records"): ("resident", 200),
    ("GET", "/v1/me/asks"): ("resident", 200),
    ("POST", "/v1/me/grants"): ("resident", 422),
    ("GET", "/v1/me/grants"): ("resident", 200),
    ("POST", "/v1/me/refusals"): ("resident", 422),
    ("POST", "/v1/me/withdrawals"): ("resident", 422),
    ("POST", "/v1/me/handles"): ("resident", 422),
    ("GET", "/v1/me/log"): ("resident", 200),
    ("GET", "/v1/source/links/{link_id}/statements"): ("source", 400),
    ("POST", "/v1/source/deliveries"): ("source", 422),
    ("GET", "/v1/products"): ("operator", 200),
    ("POST", "/v1/products"): ("operator", 422),
    ("POST", "/v1/requests"): ("operator", 422),
    ("POST", "/v1/requests/{request_digest}/answer"): ("operator", 400),
}
"""Each route, whose it is, and what its rightful caller gets for an empty body and for names that nobody has."""

SUBJECTS = {resident_subject, source_subject, operator_subject}
ROLES: tuple[Role, ...] = ("resident", "source", "operator")


def effective(routes: list[BaseRoute]) -> Iterator[BaseRoute]:
    """Routes in the order they are tried, those of included routers with them."""
    for route in routes:
        inside = getattr(route, "original_router", None)
        if inside is None:
            yield route
        else:
            yield from effective(inside.routes)


def roles_of(route: APIRoute) -> list[object]:
    found: list[object] = []
    waiting = [route.dependant]
    while waiting:
        one = waiting.pop()
        found += [one.call] if one.call in SUBJECTS else []
        waiting += one.dependencies
    return found


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(Settings())


def test_every_route_names_exactly_one_role_or_is_public(app: FastAPI) -> None:
    walked = list(effective(app.routes))
    assert {getattr(route, "path", "") for route in walked if not isinstance(route, APIRoute)} == OUTSIDE_THE_API
    for route in walked:
        if isinstance(route, APIRoute):
            assert len(roles_of(route)) == (0 if route.path in PUBLIC_PATHS else 1), route.path


def test_no_route_is_missing_in_the_table_or_in_the_document(app: FastAPI) -> None:
    walked = {
        (method, route.path)
        for route in effective(app.routes)
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    documented = {(method.upper(), path) for path, item in app.openapi()["paths"].items() for method in item}
    assert walked == documented == ROUTES.keys()


def test_the_public_list_is_the_public_router() -> None:
    assert {route.path for route in public.routes if isinstance(route, APIRoute)} == PUBLIC_PATHS
    assert {path for (_, path), (role, _) in ROUTES.items() if role is None} == PUBLIC_PATHS


def test_each_router_asks_for_its_own_role() -> None:
    for router, wanted in ((resident, resident_subject), (source, source_subject), (operator, operator_subject)):
        for route in router.routes:
            assert isinstance(route, APIRoute)
            assert roles_of(route) == [wanted], route.path


# every route × every caller


def tokens(callers: Callers) -> dict[str, tuple[dict[str, str], int, str]]:
    """Headers of callers whom no route with a role lets in, with status and code of the refusal."""

    def bearer(token: str) -> dict[str, str]:
        return {"authorization": f"Bearer {token}"}

    good = callers.token("operator")
    found = {
        "nobody": ({}, 401, "unauthenticated"),
        "other scheme": ({"authorization": f"Basic {good}"}, 401, "unauthenticated"),
        "empty": ({"authorization": "Bearer "}, 401, "unauthenticated"),
        "garbage": (bearer("a.b.c"), 401, "unauthenticated"),
    }
    for role in ROLES:
        token = callers.token(role)
        found |= {
            f"{role}, expired": (bearer(callers.expired(role)), 401, "token_expired"),
            f"{role} of another service": (bearer(callers.foreign(role)), 401, "unauthenticated"),
            f"{role}, changed": (
                bearer(token[:-3] + ("AAA" if token[-3:] != "AAA" else "BBB")),
                401,
                "unauthenticated",
            ),
            f"{role}, assertion": (
                bearer(callers.assertion(role, callers.subject(role))),
                401,
                "unauthenticated",
            ),
        }
    return found


def send(callers: Callers, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    place = path.format(link_id=random_id(), request_digest=NOBODY)
    return callers.call(method, place, {} if method == "POST" else None, headers=headers)


@pytest.fixture(scope="module")
def intruders(callers: Callers) -> dict[str, tuple[dict[str, str], int, str]]:
    return tokens(callers)


@pytest.fixture(scope="module")
def members(callers: Callers) -> dict[Role, str]:
    return {role: callers.token(role) for role in ROLES}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_and_every_role(
    callers: Callers, members: dict[Role, str], intruders: dict[str, Any], method: str, path: str
) -> None:
    owner, status = ROUTES[method, path]
    for role, token in members.items():
        answer = send(callers, method, path, {"authorization": f"Bearer {token}"})
        if owner in (None, role):
            assert answer.status_code == status, (role, answer.text)
        else:
            refusal(answer, 403, "forbidden")
    for who, (headers, wanted, code) in intruders.items():
        answer = send(callers, method, path, headers)
        if owner is None:
            assert answer.status_code == status, who
        else:
            refusal(answer, wanted, code)


@contextmanager
def suspended(callers: Callers, operator_id: str) -> Iterator[None]:
    callers.suspend(operator_id, suspended=True)
    try:
        yield
    finally:
        callers.suspend(operator_id, suspended=False)


def test_a_suspended_operator_is_out_at_once(callers: Callers) -> None:
    token, assertion = callers.token("operator"), callers.assertion("operator", BANK)
    other = callers.token("operator", RESEARCHER)
    with suspended(callers, BANK):
        for (method, path), (owner, status) in ROUTES.items():
            answer = send(callers, method, path, {"authorization": f"Bearer {token}"})
            if owner == "operator":
                refusal(answer, 403, "licence_suspended")
            elif owner is None:
                assert answer.status_code == status
            else:
                refusal(answer, 403, "forbidden")
        refusal(callers.call("POST", "/v1/token", {"assertion": assertion}), 401, "assertion_refused")
        assert callers.call("GET", "/v1/products", token=other).status_code == 200
    assert callers.call("GET", "/v1/products", token=token).status_code == 200


# other people's ids


def alike(first: httpx.Response, second: httpx.Response) -> None:
    """Two refusals that tell nothing apart."""
    assert 400 <= first.status_code < 500
    assert (first.status_code, first.content) == (second.status_code, second.content)


def test_another_operators_request(callers: Callers) -> None:
    """The bank may not learn what the university has asked, or whether it has asked."""
    existing = callers.world.outcome.asks["A"].request_digest
    token = callers.token("operator", BANK)
    theirs, nobodys = (callers.call("POST", f"/v1/requests/{d}/answer", {}, token=token) for d in (existing, NOBODY))
    alike(theirs, nobodys)
    refusal(theirs, 400, "request_unknown", existing)
    own = callers.token("operator", RESEARCHER)
    assert callers.call("POST", f"/v1/requests/{existing}/answer", {}, token=own).status_code == 200


def test_another_operators_product(callers: Callers) -> None:
    """Asking with somebody else's product is as asking with none."""
    key, token = callers.key("operator", BANK), callers.token("operator", BANK)

    def ask(product_digest: str) -> httpx.Response:
        claims = {
            "request_id": random_id(),
            "operator_id": BANK,
            "product_digest": product_digest,
            "purpose": "x",
            "parameters": {},
            "subject": {"kind": "cohort", "handle": None},
            "result_key": b64(bytes(32)),
            "nonce": random_id(),
            "issued_at": callers.now,
            "not_after": callers.now + 600,
        }
        return callers.call("POST", "/v1/requests", {"request": key.sign("use-request", claims)}, token=token)

    theirs = ask(callers.world.outcome.listed["A"].digest)
    alike(theirs, ask(NOBODY))
    refusal(theirs, 400, "product_not_listed")


def test_another_residents_grant_and_question(callers: Callers) -> None:
    """Withdrawing or refusing what belongs to a neighbour is as naming nothing; the neighbour's grant stays."""
    city = callers.world.city
    neighbour = next(p for p in city.study if any(g["state"] == "active" for g in p.client.grants()))
    grant = next(g for g in neighbour.client.grants() if g["state"] == "active")
    me = callers.person.client.subject
    key, token = callers.key("resident", me), callers.token("resident", me)
    before = callers.state()

    def withdraw(grant_digest: str) -> httpx.Response:
        claims = {"grant_digest": grant_digest, "subject": me, "key_statement": None, "issued_at": callers.now}
        return callers.call("POST", "/v1/me/withdrawals", {"withdrawal": key.sign("withdrawal", claims)}, token=token)

    def refuse(request_digest: str) -> httpx.Response:
        claims = {"request_digest": request_digest, "subject": me, "issued_at": callers.now, "nonce": random_id()}
        return callers.call("POST", "/v1/me/refusals", {"refusal": key.sign("refusal", claims)}, token=token)

    alike(withdraw(grant["grant_digest"]), withdraw(NOBODY))
    refusal(withdraw(grant["grant_digest"]), 400, "grant_unknown", grant["grant_digest"])
    alike(refuse(grant["request_digest"]), refuse(NOBODY))
    refusal(refuse(grant["request_digest"]), 400, "not_asked")
    assert not changed(before, callers.state())


def test_a_withdrawal_in_the_neighbours_name_needs_the_neighbours_key(callers: Callers) -> None:
    neighbour = next(p for p in callers.world.city.study if any(g["state"] == "active" for g in p.client.grants()))
    grant = next(g for g in neighbour.client.grants() if g["state"] == "active")
    me = callers.person.client.subject
    token = callers.token("resident", me)
    before = callers.state()
    claims = {
        "grant_digest": grant["grant_digest"],
        "subject": neighbour.client.subject,
        "key_statement": None,
        "issued_at": callers.now,
    }
    forged = callers.key("resident", me).sign("withdrawal", claims)
    refusal(callers.call("POST", "/v1/me/withdrawals", {"withdrawal": forged}, token=token), 400, "grant_unknown")
    genuine = callers.key("resident", neighbour.client.subject).sign("withdrawal", claims)
    stolen = callers.call("POST", "/v1/me/withdrawals", {"withdrawal": genuine}, token=token)
    refusal(stolen, 400, "signature_invalid")
    assert not changed(before, callers.state())


def test_another_sources_link(callers: Callers) -> None:
    link_id = link_of(callers, OTHER_SOURCE)
    token = callers.token("source")
    theirs, nobodys = (
        callers.call("GET", f"/v1/source/links/{name}/statements", token=token) for name in (link_id, random_id())
    )
    alike(theirs, nobodys)
    refusal(theirs, 400, "unknown_link", link_id)
    own = callers.token("source", OTHER_SOURCE)
    assert callers.call("GET", f"/v1/source/links/{link_id}/statements", token=own).json()["statements"]


def link_of(callers: Callers, source_id: str) -> str:
    """A link that this source has signed and a resident has handed in."""
    with callers.world.programs.space.database.read() as session:
        query = text("SELECT link_id FROM link_names WHERE source_id = :source")
        return str(session.execute(query, {"source": source_id}).scalars().first())


def test_nobody_learns_who_is_registered(callers: Callers) -> None:
    """A wrong key for a registered id and any key for an unknown one are refused in the same words."""
    for role in ROLES:
        known, unknown = (
            callers.call("POST", "/v1/token", {"assertion": forged(callers, role, sub)})
            for sub in (callers.subject(role), NOBODY)
        )
        alike(known, unknown)
        refusal(known, 401, "assertion_refused")


def forged(callers: Callers, role: Role, sub: str) -> str:
    claims = {
        "aud": callers.access.audience,
        "role": role,
        "sub": sub,
        "jti": random_id(),
        "iat": callers.now,
        "exp": callers.now + 60,
    }
    return STRANGER.sign("assertion", claims)


def test_an_unknown_handle_tells_nothing(callers: Callers) -> None:
    """A request with a handle that nobody gave is answered as any other, and nobody is asked."""
    bank = callers.world.spaces[BANK]
    before = callers.state()
    ask = bank.ask(callers.world.outcome.listed["S1"], handle=random_id())
    assert changed(before, callers.state()) == {"use_requests", "broker_grant_keys"}
    answer = callers.call("POST", f"/v1/requests/{ask.request_digest}/answer", {}, token=callers.token("operator"))
    assert answer.json() == {"status": "asked"}
