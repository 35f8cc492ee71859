"""Whoever may call the service, and what the service holds before and after a call."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import httpx
from sqlalchemy import text

from dataspace.flows.register import suspend_operator
from dataspace.identity.access import Access, Role, write_assertion
from dataspace.kernel.db import Database
from dataspace.kernel.ids import random_id
from dataspace.kernel.jws import SigningKey
from demo.authority import source_key
from demo.operators import BANK
from demo.people import Person
from tests.conftest import World

SOURCE = "health"
OTHER_SOURCE = "tax"
STRANGER = SigningKey(bytes([7]) * 32)
PROBLEM = "application/problem+json"

_MOVING = {"log_head", "log_tile", "log_checkpoint", "log_cosignature", "alembic_version", "broker_nonces"}
"""Tables that move without anybody calling: the log is sequenced and witnessed in the background."""


@dataclass
class Callers:
    """Tokens and raw calls, below the clients that would never send anything wrong."""

    world: World

    def __post_init__(self) -> None:
        self.http = self.world.programs.client("service")
        self.access = self.world.programs.space.access

    @property
    def now(self) -> int:
        return self.world.clock()

    @property
    def person(self) -> Person:
        return self.world.city.residents[-1]

    def key(self, role: Role, sub: str) -> SigningKey:
        city = self.world.city
        if role == "source":
            return source_key(city.data / sub)
        if role == "operator":
            return city.operator_key(sub)
        return next(p.client.ring.signing for p in [*city.residents, *city.study] if p.client.subject == sub)

    def subject(self, role: Role) -> str:
        return {"resident": self.person.client.subject, "source": SOURCE, "operator": BANK}[role]

    def assertion(self, role: Role, sub: str) -> str:
        return write_assertion(self.key(role, sub), self.access.audience, role, sub, random_id(), self.now)

    def token(self, role: Role, sub: str | None = None) -> str:
        """A token as the service gives it to whoever proves the key."""
        name = sub or self.subject(role)
        answer = self.http.post("/v1/token", json={"assertion": self.assertion(role, name)})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    def expired(self, role: Role) -> str:
        return self.access.issue(role, self.subject(role), random_id(), self.now - 301)

    def foreign(self, role: Role) -> str:
        """As another service, with another key, would issue it to the same subject."""
        return Access(self.access.audience, STRANGER, 0).issue(role, self.subject(role), random_id(), self.now)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str = "",
        headers: dict[str, str] | None = None,
        raw: bytes | None = None,
    ) -> httpx.Response:
        sent = {"authorization": f"Bearer {token}"} if token else {}
        if raw is not None:
            sent["content-type"] = "application/json"
        sent |= headers or {}
        if raw is None and body is None:
            return self.http.request(method, path, headers=sent)
        if raw is None:
            return self.http.request(method, path, headers=sent, json=body)
        return self.http.request(method, path, headers=sent, content=raw)

    def suspend(self, operator_id: str, *, suspended: bool) -> None:
        suspend_operator(self.world.programs.space, operator_id, "suspended" if suspended else "active")

    def state(self) -> dict[str, tuple[int, str]]:
        """Rows of every table of service and broker: how many, and a digest of what is in them."""
        programs = self.world.programs
        return {**_rows(programs.space.database), **_rows(programs.broker.store.database)}


def _rows(database: Database) -> dict[str, tuple[int, str]]:
    found: dict[str, tuple[int, str]] = {}
    with database.read() as session:
        names = session.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
        for name in sorted(set(names) - _MOVING):
            columns = "leaf_hash" if name == "log_entry" else "*"
            rows = sorted(repr(tuple(row)) for row in session.execute(text(f"SELECT {columns} FROM {name}")))  # noqa: S608
            found[name] = (len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest())
    return found


def changed(before: dict[str, tuple[int, str]], after: dict[str, tuple[int, str]]) -> set[str]:
    """Names of the tables in which anything is different."""
    return {name for name in before if before[name] != after[name]}


def refusal(answer: httpx.Response, status: int, code: str, *secrets: str) -> dict[str, Any]:
    """The problem document of a refusal that has this status and code, and repeats none of ``secrets``."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code, problem
    assert problem["type"] == f"urn:pds:problem:{code}"
    assert problem["detail"]
    for secret in secrets:
        assert secret not in answer.text
    return problem
