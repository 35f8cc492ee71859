"""The decision on a use: verified facts in, ``Decision`` out, denial wherever anything is unclear.

Python gathers and verifies, the rules in ``policies/`` decide. The answer of an engine is believed only if it is
complete and consistent: one answer for each grant that was asked, none more, known reasons, known obligations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import structlog

import policies
from consent.engine.port import ENGINE_FAILED, PolicyEngine

_log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """The four values of a decision (GB/T requirement UC-04)."""

    ALLOW = "allow"
    CONDITIONAL = "conditional"
    DENY = "deny"
    DEFAULT_DENY = "default_deny"


@dataclass(frozen=True, slots=True)
class CollectionFields:
    """Fields of one collection: what a product reads, or what a grant covers."""

    collection: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What the operator signed. ``parameters_match``: they equal the manifest's."""

    operator_id: str
    product_digest: str
    purpose: str
    request_digest: str
    parameters_match: bool
    not_after: int


@dataclass(frozen=True, slots=True)
class LicenceFacts:
    """The newest licence of the operator; ``status`` is ``active`` or ``suspended``."""

    operator_id: str
    status: str
    not_before: int
    not_after: int
    purposes: tuple[str, ...]
    collections: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProductFacts:
    """The manifest and its listing. ``kind`` is ``individual`` or ``cohort``, ``status`` ``listed`` or ``withdrawn``.

    ``millibits`` is what one answer tells about each element, in thousandths of a bit (0 for a cohort).
    """

    product_digest: str
    operator_id: str
    kind: str
    status: str
    listing_not_before: int
    listing_not_after: int
    purpose: str
    inputs: tuple[CollectionFields, ...]
    least_node_class: str
    millibits: int
    meter_limit_millibits: int


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """Class from the attestation result, or ``unattested``; the classes that this service accepts."""

    node_class: str
    accepted_classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GrantFacts:
    """One grant as stored and verified. ``sensitive`` names the collections that need separate consent.

    ``state`` is ``active``, ``withdrawn``, ``pending`` or ``expired``; ``mode`` is ``one_time`` or ``ongoing``.
    ``spent_millibits`` holds, by ``collection.field``, what this operator has learned in the current period;
    an element that is missing there counts as nothing learned.
    """

    grant_digest: str
    subject: str
    recipient: str
    product_digest: str
    purpose: str
    mode: str
    not_before: int
    not_after: int
    uses_left: int
    state: str
    scope: tuple[CollectionFields, ...]
    separate_consent: tuple[str, ...]
    least_node_class: str
    sensitive: tuple[str, ...]
    spent_millibits: Mapping[str, int]
    guardian_required: bool
    guardian_granted: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a decision reads. ``environment`` is ``development`` or ``production``; ``now`` is epoch seconds."""

    now: int
    environment: str
    request: RequestFacts
    licence: LicenceFacts
    product: ProductFacts
    node: NodeFacts
    grants: tuple[GrantFacts, ...]


@dataclass(frozen=True, slots=True)
class GrantDecision:
    """Answer for one grant; ``reasons`` is empty exactly when the grant may be used."""

    outcome: Outcome
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """Answer for the run. ``grants`` has every grant that was asked, in that order, and no other."""

    outcome: Outcome
    reasons: tuple[str, ...]
    obligations: tuple[str, ...]
    grants: Mapping[str, GrantDecision]

    @property
    def permits(self) -> bool:
        """True for ``allow`` alone: a conditional decision is taken again after attestation."""
        return self.outcome is Outcome.ALLOW

    @property
    def allowed(self) -> tuple[str, ...]:
        """Digests of the grants that may be used (under ``conditional``: after attestation)."""
        return tuple(digest for digest, grant in self.grants.items() if grant.outcome in _POSITIVE)


_POSITIVE = frozenset({Outcome.ALLOW, Outcome.CONDITIONAL})
_ATTEST_NODE = "attest_node"
_KIND_OBLIGATIONS = {
    "individual": ("meter_answer", "output_control", "notify_resident", "log_release"),
    "cohort": ("output_control", "log_release"),
}


class _UnclearAnswerError(Exception):
    """The engine's answer is not one that these facts can have."""


def decide(engine: PolicyEngine, facts: Facts) -> Decision:
    """The decision on ``facts``. Whatever goes wrong is ``default_deny`` with ``engine_failed``."""
    try:
        return _parse(engine.decide(policy_input(facts)), facts)
    except Exception as error:
        _log.warning("decision_failed", error=type(error).__name__, detail=str(error)[:200])
        return _default_deny(_digests(facts), (ENGINE_FAILED,))


def explain(reasons: Sequence[str]) -> list[dict[str, str]]:
    """A sentence for people, ``zh`` and ``en``, for each code, in the order given."""
    sentences = policies.reasons()
    return [{"code": code, **sentences.get(code, sentences[ENGINE_FAILED])} for code in reasons]


def policy_input(facts: Facts) -> dict[str, Any]:
    """``facts`` as the input document of the rules (``policies/schemas/use_input.json``)."""
    product = _members(facts.product)
    product["inputs"] = _elements(facts.product.inputs)
    return {
        "v": 1,
        "now": facts.now,
        "environment": facts.environment,
        "request": _members(facts.request),
        "licence": _members(facts.licence),
        "product": product,
        "node": {"class": facts.node.node_class, "accepted_classes": facts.node.accepted_classes},
        "grants": [_grant_input(grant) for grant in facts.grants],
    }


def _members(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def _elements(entries: tuple[CollectionFields, ...]) -> list[dict[str, Any]]:
    return [{"collection": entry.collection, "fields": entry.fields} for entry in entries]


def _grant_input(grant: GrantFacts) -> dict[str, Any]:
    members = _members(grant)
    members["scope"] = _elements(grant.scope)
    members["spent_millibits"] = dict(grant.spent_millibits)
    return members


def _digests(facts: Facts) -> tuple[str, ...]:
    return tuple(grant.grant_digest for grant in facts.grants)


def _default_deny(digests: tuple[str, ...], reasons: tuple[str, ...]) -> Decision:
    grants = {digest: GrantDecision(Outcome.DEFAULT_DENY, reasons) for digest in digests}
    return Decision(Outcome.DEFAULT_DENY, reasons, (), MappingProxyType(grants))


def _parse(answer: Any, facts: Facts) -> Decision:
    _expect(type(answer) is dict and answer.keys() == {"outcome", "reasons", "obligations", "grants"}, "shape")
    outcome = _outcome(answer["outcome"])
    reasons = _reasons(answer["reasons"])
    _expect(bool(reasons) is (outcome not in _POSITIVE), "reasons do not fit the outcome")
    _expect(answer["obligations"] == list(_obligations(outcome, facts.product.kind)), "obligations")
    if outcome is Outcome.DEFAULT_DENY:
        _expect(answer["grants"] == {}, "a default denial names no grant")
        return _default_deny(_digests(facts), reasons)
    grants = _parse_grants(answer["grants"], _digests(facts), outcome)
    return Decision(outcome, reasons, tuple(answer["obligations"]), MappingProxyType(grants))


def _parse_grants(answers: Any, digests: tuple[str, ...], outcome: Outcome) -> dict[str, GrantDecision]:
    _expect(type(answers) is dict and len(answers) == len(digests), "not one answer for each grant")
    grants = {digest: _parse_grant(answers.get(digest), outcome) for digest in digests}
    _expect(len(grants) == len(digests), "a grant was asked twice")
    positive = any(grant.outcome in _POSITIVE for grant in grants.values())
    _expect(positive is (outcome in _POSITIVE), "the grants do not fit the outcome")
    return grants


def _parse_grant(answer: Any, run: Outcome) -> GrantDecision:
    _expect(type(answer) is dict and answer.keys() == {"outcome", "reasons"}, "shape of a grant")
    outcome = _outcome(answer["outcome"])
    reasons = _reasons(answer["reasons"])
    _expect(outcome in {Outcome.DENY, run}, "the grant does not fit the outcome")
    _expect(bool(reasons) is (outcome not in _POSITIVE), "the grant's reasons do not fit its outcome")
    return GrantDecision(outcome, reasons)


def _outcome(value: Any) -> Outcome:
    _expect(type(value) is str, "outcome")
    return Outcome(value)


def _reasons(value: Any) -> tuple[str, ...]:
    _expect(type(value) is list and all(type(code) is str for code in value), "reasons")
    _expect(value == sorted(set(value)) and policies.reasons().keys() >= set(value), "unknown or unsorted reasons")
    return tuple(value)


def _obligations(outcome: Outcome, kind: str) -> tuple[str, ...]:
    """The duties without which a positive answer is not believed, in their order (UC-06)."""
    if outcome not in _POSITIVE:
        return ()
    duties = _KIND_OBLIGATIONS[kind]
    return (_ATTEST_NODE, *duties) if outcome is Outcome.CONDITIONAL else duties


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise _UnclearAnswerError(what)
