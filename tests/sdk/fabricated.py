"""A district made of keys: everything that the service would send, built with the service's own code.

``answer_to(ask)`` gives a true answer; each argument replaces one part of it, so that a test changes exactly one thing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import httpx
from dataspace_sdk import Ask, OperatorIdentity, Trust

from connectors.attestation import Ear, Release, Result, sealed_result_digest
from consent.asking import verify_product, verify_request
from consent.model import UseRequest, grant_set
from dataspace.identity.access import Access
from dataspace.kernel import merkle, note
from dataspace.kernel.encoding import HEADER, b64, canonical, digest, frame
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.http import problem
from dataspace.kernel.ids import random_id
from dataspace.kernel.jws import SigningKey
from dataspace.kernel.logproof import leaf_data
from dataspace.kernel.signed import Text
from dataspace.standard.register import Licence
from demo.products import blood_pressure, income_check
from tests.sdk.rfc6962 import inclusion
from vault.suite1 import SealingKey

NOW = 1_800_001_800
HOUR = NOW - NOW % 3600
AUDIENCE = "space.example"
ORIGIN = "space.example/log"
BANK = "demo-bank"
CODES = {"grants": grant_set(["a", "b"]), "policy": digest("policy", "p"), "run": b64(b"r" * 16)}

REGISTRAR, BROKER, LOG, WITNESS, SECOND, OPERATOR, NODE, OTHER, SERVICE = (
    SigningKey(bytes((number,)) * 32) for number in range(1, 10)
)
SAID = {
    "answer": "yes",
    "reason": "criteria_met",
    "as_of": "2027-01-15",
    "covers": {"from": "2026-01", "to": "2026-12"},
    "sources": ["wages-bureau"],
    "valid_until": "2027-02-14",
}
TABLE = {
    "by": ["sex"],
    "count": "persons",
    "units": {"mean_sbp": "mmHg"},
    "k": 10,
    "cells": [
        {"sex": "female", "suppressed": False, "persons": 40, "mean_sbp": 128, "steps": {"mean_sbp": 5}},
        {"sex": "male", "suppressed": True, "persons": None, "mean_sbp": None, "steps": None},
    ],
}


def identity() -> OperatorIdentity:
    return OperatorIdentity(BANK, OPERATOR.seed)


def trust_json(**changes: Any) -> dict[str, Any]:
    return {
        "audience": AUDIENCE,
        "registrar": b64(REGISTRAR.public),
        "broker": b64(BROKER.public),
        "log_origin": ORIGIN,
        "log_key": b64(LOG.public),
        "witnesses": {"w/1": b64(WITNESS.public), "w/2": b64(SECOND.public)},
        "witness_quorum": 2,
        "accept_node_classes": ["sw-dev"],
        **changes,
    }


def trust(**changes: Any) -> Trust:
    return Trust.from_json(trust_json(**changes))


def licence() -> str:
    content = Licence(
        licence_id="l1",
        number="1",
        operator_id=BANK,
        name=Text(zh="银行", en="Bank"),
        key=b64(OPERATOR.public),
        purposes=("CreditChecking", "AcademicResearch"),
        collections=("wages", "vitals", "demographics"),
        not_before=0,
        not_after=NOW * 2,
    )
    return content.sign(REGISTRAR)


def manifest(kind: str = "individual", operator_id: str = BANK) -> dict[str, Any]:
    return income_check(operator_id) if kind == "individual" else blood_pressure(operator_id)


def listing(payload: Mapping[str, Any], key: SigningKey = REGISTRAR, **changes: Any) -> str:
    content = {
        "product_digest": digest("product", canonical({"v": 1, "suite": 1, **payload})),
        "product_id": payload["product_id"],
        "version": payload["version"],
        "operator_id": payload["operator_id"],
        "reviewers": ["reviewer-1", "reviewer-2"],
        "not_before": 0,
        "not_after": NOW * 2,
    }
    return key.sign("listing", {**content, **changes})


def ear(ask: Ask, key: SigningKey = BROKER, **changes: Any) -> str:
    content = {
        "profile": "tag:github.com,2023:veraison/ear",
        "status": "affirming",
        "vector": {"hardware": 0, "executables": 2},
        "kind": "sw-dev",
        "node_class": "sw-dev",
        "isolation": "bwrap+seccomp",
        "node_sign_key": b64(NODE.public),
        "node_hpke_key": b64(b"h" * 1216),
        "nonce": random_id(),
        "run_id": CODES["run"],
        "request_digest": ask.request_digest,
        "grant_set": CODES["grants"],
        "policy_digest": CODES["policy"],
        "issued_at": NOW - 20,
        "not_after": NOW + 280,
    }
    Ear.model_validate(content)
    return key.sign("ear", {**content, **changes})


def release(ask: Ask, sealed: bytes, key: SigningKey = BROKER, **changes: Any) -> str:
    content = {
        "run_id": CODES["run"],
        "request_digest": ask.request_digest,
        "result_digest": sealed_result_digest(sealed),
        "grant_set": CODES["grants"],
        "node": NODE.kid,
        "released_at": HOUR,
    }
    Release.model_validate(content)
    return key.sign("release", {**content, **changes})


def result(ask: Ask, key: SigningKey = NODE, **changes: Any) -> str:
    content = {
        "run_id": CODES["run"],
        "request_digest": ask.request_digest,
        "product_digest": ask.product_digest,
        "kind": ask.kind,
        "answer": SAID if ask.kind == "individual" else None,
        "table": TABLE if ask.kind == "cohort" else None,
        "produced_at": HOUR,
    }
    Result.model_validate(content)
    return key.sign("result", {**content, **changes})


def seal(ask: Ask, token: str, run_id: str = CODES["run"], request_digest: str | None = None) -> bytes:
    payload = UseRequest.claimed(ask.request)
    info = frame("result", HEADER, run_id, request_digest or ask.request_digest)
    return SealingKey(base64.urlsafe_b64decode(payload.result_key + "==")).seal(info, token.encode())


def decided(ask: Ask, **changes: Any) -> dict[str, Any]:
    return {
        "v": 1,
        "kind": "run.decided",
        "at": NOW,
        "run_id": CODES["run"],
        "request_digest": ask.request_digest,
        "product_digest": ask.product_digest,
        "operator_id": BANK,
        "outcome": "allow",
        "reasons": [],
        "grant_set": CODES["grants"],
        "allowed": 2,
        "denied": 0,
        "policy_digest": CODES["policy"],
        **changes,
    }


def released(ask: Ask, sealed: bytes, decision: str, **changes: Any) -> dict[str, Any]:
    return {
        "v": 1,
        "kind": "run.released",
        "at": NOW,
        "run_id": CODES["run"],
        "request_digest": ask.request_digest,
        "result_digest": sealed_result_digest(sealed),
        "decision": decision,
        **changes,
    }


def leaf(body: Mapping[str, Any], salt: bytes = b"s" * 16) -> bytes:
    return merkle.leaf_hash(leaf_data(salt, canonical(dict(body))))


class Tree:
    """A log with other entries around those of a test; its notes are signed and cosigned by both witnesses."""

    def __init__(self, *bodies: Mapping[str, Any], padding: int = 5, origin: str = ORIGIN) -> None:
        self.bodies = bodies
        self.leaves = [merkle.leaf_hash(bytes((number,))) for number in range(padding)] + [leaf(one) for one in bodies]
        self.leaves.append(merkle.leaf_hash(b"last"))
        self.padding = padding
        self.head = note.Checkpoint(origin, len(self.leaves), merkle.root(self.leaves))

    def note(self, *, log: SigningKey = LOG, witnesses: Mapping[str, SigningKey] | None = None) -> str:
        named = {"w/1": WITNESS, "w/2": SECOND} if witnesses is None else witnesses
        signed = note.sign_checkpoint(self.head, log)
        return signed + "".join(note.cosign(self.head.body(), name, key, NOW) for name, key in named.items())

    def bundle(self, place: int, checkpoint: str | None = None) -> dict[str, Any]:
        index = self.padding + place
        return {
            "index": index,
            "salt": b64(b"s" * 16),
            "body": b64(canonical(dict(self.bodies[place]))),
            "size": self.head.size,
            "inclusion": [b64(item) for item in inclusion(self.leaves, index)],
            "checkpoint": checkpoint or self.note(),
        }


def answer_to(
    ask: Ask,
    *,
    sealed: bytes | None = None,
    ear_token: str | None = None,
    release_token: str | None = None,
    decision: Mapping[str, Any] | None = None,
    release_entry: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The member ``answer`` of an answered request."""
    sealed = seal(ask, result(ask)) if sealed is None else sealed
    first = decided(ask) if decision is None else decision
    second = released(ask, sealed, b64(leaf(first)))
    tree = Tree(first, {**second, **(release_entry or {})})
    return {
        "sealed": b64(sealed),
        "ear": ear_token or ear(ask),
        "release": release_token or release(ask, sealed),
        "decision": tree.bundle(0),
        "released": tree.bundle(1),
    }


class Service:
    """The operator's routes, with the service's own checks of assertions, products and requests."""

    def __init__(self) -> None:
        self.now = NOW
        self.access = Access(AUDIENCE, SERVICE, NOW - 3600)
        self.catalogue: list[dict[str, str]] = []
        self.asked: dict[str, str] = {}
        self.outcomes: list[Any] = []
        self.calls: list[tuple[str, str]] = []
        self.tokens = 0
        self.refused_tokens: set[str] = set()

    def clock(self) -> int:
        return self.now

    def put(self, payload: dict[str, Any], key: SigningKey = OPERATOR, **changes: Any) -> str:
        name = digest("product", canonical({"v": 1, "suite": 1, **payload}))
        entry = {"product_digest": name, "product": key.sign("product", payload), "listing": listing(payload)}
        self.catalogue.append({**entry, **changes})
        return name

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.calls.append((request.method, request.url.path))
        try:
            return self._route(request)
        except DataspaceError as error:
            return httpx.Response(error.status, json=problem(error))

    def _route(self, request: httpx.Request) -> httpx.Response:
        path, body = request.url.path, json.loads(request.content) if request.content else None
        if path == "/v1/token":
            assertion = self.access.check_assertion(body["assertion"], OPERATOR.public, self.now)
            assert (assertion.role, assertion.sub) == ("operator", BANK)
            self.tokens += 1
            return httpx.Response(200, json={"token": f"token-{self.tokens}", "expires_in": 300})
        token = request.headers.get("authorization", "")
        if token != f"Bearer token-{self.tokens}" or token in self.refused_tokens:
            return httpx.Response(
                401, json={"type": "urn:pds:problem:unauthenticated", "code": "unauthenticated", "detail": "no"}
            )
        if (request.method, path) == ("GET", "/v1/products"):
            return httpx.Response(200, json={"products": self.catalogue})
        if path == "/v1/products":
            found = verify_product(licence(), body["product"], body["listing"], REGISTRAR.public)
            self.catalogue.append({"product_digest": found.product.digest, **body})
            return httpx.Response(201, json={"product_digest": found.product.digest})
        if path == "/v1/requests":
            return self._ask(body["request"])
        outcome = self.outcomes.pop(0)
        assert path == f"/v1/requests/{list(self.asked)[-1]}/answer"
        assert body == {}
        return outcome if isinstance(outcome, httpx.Response) else httpx.Response(200, json=outcome)

    def _ask(self, token: str) -> httpx.Response:
        name = UseRequest.claimed(token).product_digest
        entry = next(item for item in self.catalogue if item["product_digest"] == name)
        listed = verify_product(licence(), entry["product"], entry["listing"], REGISTRAR.public)
        request = verify_request(listed, token)
        self.asked[request.digest] = token
        return httpx.Response(201, json={"request_digest": request.digest, "status": "asked"})
