"""Three known questions for a new engine: it must allow, deny and fall to the default before it is used."""

from __future__ import annotations

from typing import Any

from consent.engine.errors import EngineSelfTestError
from consent.engine.port import PolicyEngine

_INPUTS = [{"collection": "wages", "fields": ["month"]}]


def check(engine: PolicyEngine) -> None:
    """Raise :class:`EngineSelfTestError` unless ``engine`` gives the three known answers."""
    facts = _facts()
    allowed = engine.decide(facts)
    denied = engine.decide({**facts, "now": 4})
    malformed = engine.decide({**facts, "now": "2"})
    found = [(answer.get("outcome"), answer.get("reasons")) for answer in (allowed, denied, malformed)]
    expected = [("allow", []), ("deny", ["expired_licence"]), ("default_deny", ["malformed_input"])]
    if found != expected:
        raise EngineSelfTestError("the policy engine gives wrong answers to the self-test")


def _facts() -> dict[str, Any]:
    period = {"not_before": 1, "not_after": 3}
    return {
        "v": 1,
        "now": 2,
        "environment": "production",
        "request": {
            "operator_id": "o",
            "product_digest": "p",
            "purpose": "u",
            "request_digest": "r",
            "parameters_match": True,
            "not_after": 9,
        },
        "licence": {"operator_id": "o", "status": "active", "purposes": ["u"], "collections": ["wages"], **period},
        "product": {
            "product_digest": "p",
            "operator_id": "o",
            "kind": "individual",
            "status": "listed",
            "listing_not_before": 1,
            "listing_not_after": 9,
            "purpose": "u",
            "inputs": _INPUTS,
            "least_node_class": "tpm",
            "millibits": 1000,
            "meter_limit_millibits": 2000,
        },
        "node": {"class": "tpm", "accepted_classes": ["tpm"]},
        "grants": [_grant()],
    }


def _grant() -> dict[str, Any]:
    return {
        "grant_digest": "g",
        "subject": "s",
        "recipient": "o",
        "product_digest": "p",
        "purpose": "u",
        "mode": "ongoing",
        "not_before": 1,
        "not_after": 9,
        "uses_left": 1,
        "state": "active",
        "scope": _INPUTS,
        "separate_consent": ["wages"],
        "least_node_class": "tpm",
        "sensitive": ["wages"],
        "spent_millibits": {"wages.month": 1000},
        "guardian_required": True,
        "guardian_granted": True,
    }
