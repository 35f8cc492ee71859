"""What must hold before an answer is believed. Pure: what the service sent, the ask, the pins and one time go in.

The rules, in order (docs/formats.md, "Attestation" and "Log"); the first that fails raises its own error:

1. EAR by the pinned broker: affirming, a node class accepted here, about this request, not longer than 300 s.
2. Release by the pinned broker: this request, these sealed bytes, the grants, node and run of the EAR, in the hour of
   the attestation (an EAR need not be fresh when an answer is fetched; it must have been when the result left).
3. The sealed result opens with this ask's key, bound to run and request; the attested node signed it.
4. One checkpoint of the pinned log, cosigned by the quorum of pinned witnesses.
5. Under it: the decision to allow this run, with the EAR's grants and policy.
6. Under it, later: the release of these sealed bytes, pointing to that decision.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from dataspace_sdk import errors
from dataspace_sdk.encoding import HEADER, Json, b64, digest, frame, members, unb64
from dataspace_sdk.errors import DataspaceSdkError, VerificationError
from dataspace_sdk.hpke import ResultKey
from dataspace_sdk.jws import fingerprint, verify
from dataspace_sdk.log import Checkpoint, Entry, open_entry, verify_checkpoint
from dataspace_sdk.model import Answered, Ask, Evidence, IndividualAnswer, Table
from dataspace_sdk.trust import Trust

EAR_SECONDS = 300
HOUR = 3600
CLOCK_SKEW = 300
MAX_RESULT = 1 << 24
"""Characters of a result JWS: a table may be larger than other signed objects."""

_Types = Mapping[str, type | tuple[type, ...]]
_PROFILE = "tag:github.com,2023:veraison/ear"
_PARTS: _Types = {"sealed": str, "ear": str, "release": str, "decision": dict, "released": dict}
_EAR: _Types = {
    "profile": str,
    "status": str,
    "vector": dict,
    "kind": str,
    "node_class": str,
    "isolation": str,
    "node_sign_key": str,
    "node_hpke_key": str,
    "nonce": str,
    "run_id": str,
    "request_digest": str,
    "grant_set": str,
    "policy_digest": str,
    "issued_at": int,
    "not_after": int,
}
_RELEASE: _Types = {
    "run_id": str,
    "request_digest": str,
    "result_digest": str,
    "grant_set": str,
    "node": str,
    "released_at": int,
}
_RESULT: _Types = {
    "run_id": str,
    "request_digest": str,
    "product_digest": str,
    "kind": str,
    "answer": (dict, type(None)),
    "table": (dict, type(None)),
    "produced_at": int,
}
_ANSWER: _Types = {"answer": str, "reason": str, "as_of": str, "covers": dict, "sources": list, "valid_until": str}
_TABLE: _Types = {"by": list, "count": str, "units": dict, "k": int, "cells": list}


def verify_answer(raw: Mapping[str, Json], ask: Ask, trust: Trust, now: int) -> Answered:
    """The answer in ``raw`` (member ``answer`` of the service's response) with all that was verified about it.

    Raises a :class:`VerificationError`, whose class and ``code`` say which rule failed.
    """
    with _refusing(errors.AnswerMalformedError):
        parts = members(raw, _PARTS)
        sealed = unb64(parts["sealed"])
    result_digest = digest("sealed-result", sealed)
    ear = _ear(parts["ear"], ask, trust)
    release = _release(parts["release"], ear, result_digest, ask, trust)
    _check_times(ear, release, now)
    result = _result(sealed, ear, ask)
    answer, table = _content(result, ask)
    checkpoint = _checkpoint(parts, trust)
    decision = _entry(parts["decision"], checkpoint)
    _check_decision(decision, ear, ask)
    released = _entry(parts["released"], checkpoint)
    _check_released(released, decision, release)
    evidence = Evidence(
        request_digest=ask.request_digest,
        product_digest=ask.product_digest,
        run_id=ear["run_id"],
        node_class=ear["node_class"],
        isolation=ear["isolation"],
        node=release["node"],
        grant_set=ear["grant_set"],
        policy_digest=ear["policy_digest"],
        attested_at=ear["issued_at"],
        released_at=release["released_at"],
        result_digest=result_digest,
        release=release,
        decision=decision.leaf_hash,
        decision_entry=decision.body,
        release_entry=released.leaf_hash,
        log_origin=checkpoint.origin,
        log_size=checkpoint.size,
        log_root=b64(checkpoint.root),
        witnesses=checkpoint.witnesses,
    )
    return Answered(answer, table, evidence, dict(raw))


def _ear(token: str, ask: Ask, trust: Trust) -> dict[str, Json]:
    with _refusing(errors.EarInvalidError):
        ear = members(verify(token, "ear", trust.broker).payload, _EAR)
        unb64(ear["node_sign_key"], size=32)
    if ear["profile"] != _PROFILE:
        raise errors.EarInvalidError("an attestation result of another profile")
    if ear["status"] != "affirming":
        raise errors.EarNotAffirmingError("the broker does not affirm the node")
    if ear["node_class"] not in trust.accept_node_classes:
        raise errors.NodeClassRefusedError("the node is of a class that is not in accept_node_classes")
    if ear["request_digest"] != ask.request_digest:
        raise errors.EarRequestMismatchError("the attestation is about another request")
    if not ear["issued_at"] <= ear["not_after"] <= ear["issued_at"] + EAR_SECONDS:
        raise errors.EarTimeError("an attestation result lives for at most 300 seconds")
    return ear


def _release(token: str, ear: dict[str, Json], result_digest: str, ask: Ask, trust: Trust) -> dict[str, Json]:
    with _refusing(errors.ReleaseInvalidError):
        release = members(verify(token, "release", trust.broker).payload, _RELEASE)
    node = fingerprint(unb64(ear["node_sign_key"]))
    rules: tuple[tuple[str, Json, type[VerificationError]], ...] = (
        ("request_digest", ask.request_digest, errors.ReleaseRequestMismatchError),
        ("result_digest", result_digest, errors.ReleaseResultMismatchError),
        ("grant_set", ear["grant_set"], errors.ReleaseGrantsMismatchError),
        ("node", node, errors.ReleaseNodeMismatchError),
        ("run_id", ear["run_id"], errors.ReleaseRunMismatchError),
    )
    return _agreeing(release, rules, "the release")


def _check_times(ear: dict[str, Json], release: dict[str, Json], now: int) -> None:
    """The release is dated by its hour: that hour must touch the life of the EAR, and neither lies in the future."""
    hour = release["released_at"]
    if hour % HOUR or not ear["issued_at"] - HOUR < hour <= ear["not_after"]:
        raise errors.EarTimeError("the result was not released while the attestation held")
    if max(hour, ear["issued_at"]) > now + CLOCK_SKEW:
        raise errors.EarTimeError("attested or released in the future")


def _result(sealed: bytes, ear: dict[str, Json], ask: Ask) -> dict[str, Json]:
    info = frame("result", HEADER, ear["run_id"], ask.request_digest)
    opened = ResultKey(ask.seed).open(info, sealed)
    with _refusing(errors.ResultInvalidError):
        token = opened.decode("ascii", "replace")
        signed = verify(token, "result", unb64(ear["node_sign_key"]), limit=MAX_RESULT)
        result = members(signed.payload, _RESULT)
    rules: tuple[tuple[str, Json, type[VerificationError]], ...] = (
        ("request_digest", ask.request_digest, errors.ResultRequestMismatchError),
        ("product_digest", ask.product_digest, errors.ResultProductMismatchError),
        ("kind", ask.kind, errors.ResultProductMismatchError),
        ("run_id", ear["run_id"], errors.ResultRunMismatchError),
    )
    return _agreeing(result, rules, "the result")


def _content(result: dict[str, Json], ask: Ask) -> tuple[IndividualAnswer | None, Table | None]:
    """Exactly the one of answer and table that the kind of the product asks for."""
    with _refusing(errors.ResultInvalidError):
        if ask.kind == "individual" and result["table"] is None and result["answer"] is not None:
            said = members(result["answer"], _ANSWER)
            return IndividualAnswer(**{**said, "sources": tuple(said["sources"])}), None
        if ask.kind == "cohort" and result["answer"] is None and result["table"] is not None:
            table = members(result["table"], _TABLE)
            return None, Table(**{**table, "by": tuple(table["by"])})
    raise errors.ResultInvalidError("neither the answer nor the table that the product promises")


def _checkpoint(parts: Mapping[str, Json], trust: Trust) -> Checkpoint:
    text = parts["decision"].get("checkpoint")
    if text is None or parts["released"].get("checkpoint") is None:
        raise errors.LogEntryInvalidError("a log entry is missing, or has no checkpoint")
    if text != parts["released"]["checkpoint"]:
        raise errors.CheckpointForkedError("decision and release are shown under two checkpoints")
    with _refusing(errors.CheckpointInvalidError):
        return verify_checkpoint(text, trust.log_key, trust.log_origin, trust.witnesses, trust.witness_quorum)


def _entry(bundle: Mapping[str, Json], checkpoint: Checkpoint) -> Entry:
    try:
        with _refusing(errors.LogEntryInvalidError, errors.ProofInvalidError):
            return open_entry(bundle, checkpoint)
    except errors.ProofInvalidError as error:
        raise errors.EntryNotInLogError(str(error)) from error


def _check_decision(entry: Entry, ear: dict[str, Json], ask: Ask) -> None:
    rules: tuple[tuple[str, Json, type[VerificationError]], ...] = (
        ("kind", "run.decided", errors.DecisionMissingError),
        ("outcome", "allow", errors.DecisionNotAllowError),
        ("request_digest", ask.request_digest, errors.DecisionRequestMismatchError),
        ("product_digest", ask.product_digest, errors.DecisionRequestMismatchError),
        ("operator_id", ask.operator_id, errors.DecisionRequestMismatchError),
        ("run_id", ear["run_id"], errors.DecisionRunMismatchError),
        ("grant_set", ear["grant_set"], errors.DecisionGrantsMismatchError),
        ("policy_digest", ear["policy_digest"], errors.DecisionPolicyMismatchError),
    )
    _agreeing(entry.body, rules, "the logged decision")


def _check_released(entry: Entry, decision: Entry, release: dict[str, Json]) -> None:
    rules: tuple[tuple[str, Json, type[VerificationError]], ...] = (
        ("kind", "run.released", errors.ReleasedMissingError),
        ("request_digest", release["request_digest"], errors.ReleasedRequestMismatchError),
        ("run_id", release["run_id"], errors.ReleasedRunMismatchError),
        ("result_digest", release["result_digest"], errors.ReleasedResultMismatchError),
        ("decision", decision.leaf_hash, errors.ReleasedDecisionMismatchError),
    )
    _agreeing(entry.body, rules, "the logged release")
    if entry.index <= decision.index:
        raise errors.ReleasedMissingError("the logged release does not follow the decision")


def _agreeing(
    found: dict[str, Json], rules: tuple[tuple[str, Json, type[VerificationError]], ...], what: str
) -> dict[str, Json]:
    """``found``, if each member named in ``rules`` is what it must be."""
    for name, expected, refusal in rules:
        if found.get(name) != expected:
            raise refusal(f"{what} has another {name} than it must")
    return found


@contextmanager
def _refusing(refusal: type[VerificationError], *passing: type[DataspaceSdkError]) -> Iterator[None]:
    """Errors of format and signature become ``refusal``; refusals and ``passing`` stay what they are."""
    try:
        yield
    except DataspaceSdkError as error:
        if isinstance(error, (VerificationError, *passing)):
            raise
        raise refusal(str(error)) from error
