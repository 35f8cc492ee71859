"""A use: facts, decision, log, broker and node, answer.

Two commits. The first writes the decision with its log entries, before anything is opened; the second writes the sealed
answer with the entry of its release. In between no transaction is open, and nothing but the broker decides what opens.

One request has one run at a time: both commits hold the request's row. A run that neither ended nor failed after
``RUN_LEASE`` has died with its process; the next one takes over. The answer that the node then brings may have been
made for the earlier run: it counts under the decision of the run that made it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from connectors.attestation import Release, sealed_result_digest
from consent import store as consent
from consent.asking import ListedProduct, verify_request
from consent.decide import Decision, Facts, NodeFacts, Outcome, decide
from consent.facts import grant_facts, licence_facts, product_facts, request_facts
from consent.meter import PERIOD_SECONDS, elements, millibits
from consent.model import Grant, GrantTermsSigned, UseRequest, grant_set
from consent.store import ACTIVE, RECORDED, StoredGrant, StoredRun
from dataspace.audit.log import NewEntry
from dataspace.flows.ask import listed_product, papers
from dataspace.flows.errors import BusyError, RequestRefusedError, TooLateError
from dataspace.flows.reasons import sentences
from dataspace.flows.space import LogNotReadyError, Proven, Space
from dataspace.identity import store as identity
from dataspace.kernel.encoding import b64, unb64
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.http import RUN_SECONDS
from dataspace.kernel.ids import random_id
from dataspace.kernel.signed import Verified
from vault import store as vault
from vault.envelope import SlotContext

Answer = dict[str, Any]
BUSY_SECONDS = 30.0
RUN_LEASE = int(RUN_SECONDS) + 60
_log = structlog.get_logger(__name__)
_STATES = {ACTIVE: "active", RECORDED: "pending"}


@dataclass(frozen=True)
class Case:
    """One run: the verified request, everything granted for it, and what the decision says."""

    run_id: str
    listed: ListedProduct
    request: Verified[UseRequest]
    grants: dict[str, StoredGrant]
    subjects: dict[str, str]
    decision: Decision

    @property
    def allowed(self) -> list[StoredGrant]:
        names = [name for name, one in self.decision.grants.items() if one.outcome is Outcome.ALLOW]
        return [self.grants[name] for name in sorted(names)]


@dataclass(frozen=True)
class Decided:
    """The logged decision: its entry, and proofs of the allowed grants' entries followed by its own."""

    entry: str
    proven: Proven


def answer(space: Space, operator_id: str, request_digest: str, now: int) -> Answer:
    """``{"status": "asked" | "denied" | "answered", …}``; the same request has one answer, however often it is asked.

    Until a grant exists the answer is "asked", whatever else exists or does not.
    """
    with space.database.read() as session:
        known = consent.request(session, request_digest)
        if known is None or known[0] != operator_id:
            raise RequestRefusedError("no such request of this operator", code="request_unknown")
        run = _released(session, request_digest)
    if run is not None:
        return _answered(space, run)
    if not space.runs.acquire(timeout=BUSY_SECONDS):
        raise BusyError("too many runs at this moment; ask again")
    try:
        return _decide_and_run(space, known[1], operator_id, now)
    finally:
        space.runs.release()


def _decide_and_run(space: Space, token: str, operator_id: str, now: int) -> Answer:
    case = _decide(space, token, operator_id, now)
    if case is None:
        return {"status": "asked"}
    try:
        decided = _record_decision(space, case, now)
        if case.decision.outcome is not Outcome.ALLOW:
            return {"status": "denied", "reasons": sentences(_reasons(case.decision))}
        return _run(space, case, decided, now)
    except SQLAlchemyError as error:
        raise _unwritten(space, case, now) from error


def _released(session: Session, request_digest: str) -> StoredRun | None:
    """The run whose answer is this request's answer."""
    for run in consent.runs_of_request(session, request_digest):
        if run.state == "released" and run.answer is not None and run.released is not None:
            return run
    return None


def _decide(space: Space, token: str, operator_id: str, now: int) -> Case | None:
    """Gather the facts in one reading transaction and let the policy decide; None while nobody has granted."""
    claimed = UseRequest.claimed(token)
    with space.database.read() as session:
        listed = listed_product(session, space, operator_id, claimed.product_digest)
        request = verify_request(listed, token)
        if listed.product.content.kind == "cohort":
            stored = consent.grants_of_product(session, listed.product.digest, operator_id)
        else:
            stored = consent.grants_of_request(session, request.digest)
        if not stored:
            return None
        subjects = identity.subjects_of(session, [grant.resident_id for grant in stored])
        facts = _facts(session, space, listed, request, stored, now)
    decision = decide(space.engine, facts)
    grants = {grant.grant_digest: grant for grant in stored}
    return Case(random_id(), listed, request, grants, subjects, decision)


def _facts(
    session: Session,
    space: Space,
    listed: ListedProduct,
    request: Verified[UseRequest],
    stored: list[StoredGrant],
    now: int,
) -> Facts:
    product = listed.product.content
    operator = identity.operator(session, product.operator_id)
    row = consent.product(session, listed.product.digest)
    uses = consent.uses_of_grants(session, [grant.grant_digest for grant in stored], request.digest)
    return Facts(
        now=now,
        environment=space.environment,
        request=request_facts(request),
        licence=licence_facts(listed.licence, status=operator[1] if operator else "suspended"),
        product=product_facts(listed, status=row.status if row else "withdrawn"),
        node=NodeFacts(node_class=space.node_class, accepted_classes=space.accepted_node_classes),
        grants=tuple(
            grant_facts(
                grant.grant_digest,
                Grant.claimed(grant.token).grant,
                state=_STATES.get(grant.state, "withdrawn"),
                uses=uses.get(grant.grant_digest, 0),
                listed=listed,
                spent_millibits=_spent(session, listed, request, grant, now),
            )
            for grant in stored
        ),
    )


def _spent(
    session: Session, listed: ListedProduct, request: Verified[UseRequest], grant: StoredGrant, now: int
) -> dict[str, int]:
    """What this operator has been told about the resident; cohort tables are metered by output control instead."""
    if not millibits(listed.product.content):
        return {}
    operator_id, since = listed.product.content.operator_id, now - PERIOD_SECONDS
    return consent.spent_millibits(session, grant.resident_id, operator_id, since, request.digest)


def _reasons(decision: Decision) -> tuple[str, ...]:
    """Why nothing was allowed: the run's reasons, or else those of its grants."""
    found = decision.reasons or tuple(sorted({code for one in decision.grants.values() for code in one.reasons}))
    return found or ("default_deny",)


def _record_decision(space: Space, case: Case, now: int) -> Decided:
    """First commit: the run, an entry for every resident concerned, the decision's own; then wait for the log."""
    allowed = case.allowed if case.decision.outcome is Outcome.ALLOW else []
    product = case.listed.product
    common = {
        "run_id": case.run_id,
        "request_digest": case.request.digest,
        "product_digest": product.digest,
        "operator_id": product.content.operator_id,
    }
    entries = [_use_entry(case, grant, common, now) for grant in _ordered(case, allowed)]
    verdict = {
        **common,
        "outcome": case.decision.outcome.value,
        "reasons": list(_reasons(case.decision)) if not allowed else [],
        "grant_set": grant_set([grant.grant_digest for grant in allowed]),
        "policy_digest": space.policy_digest,
    }
    entries.append(NewEntry("run.decided", now, verdict))
    with space.database.write() as session:
        _take_turn(session, space, case, now)
        written = space.log.append_many(session, entries)
        decision = written[-1].leaf_hash
        run = StoredRun(
            run_id=case.run_id,
            request_digest=case.request.digest,
            state="decided" if allowed else "denied",
            outcome=case.decision.outcome.value,
            reasons=tuple(verdict["reasons"]) if isinstance(verdict["reasons"], list) else (),
            decision=decision,
            released=None,
            answer=None,
        )
        consent.add_run(session, run, now)
        consent.add_uses(session, [_use_row(case, grant, now) for grant in allowed])
    try:
        return Decided(decision, _prove(space, [entry.leaf_hash for entry in written[: len(allowed)]] + [decision]))
    except LogNotReadyError as error:
        _end_run(space, case, error.code, now)
        raise


def _take_turn(session: Session, space: Space, case: Case, now: int) -> None:
    """One run of a request at a time, and none after its answer; a run that died with its process ends here."""
    consent.lock_request(session, case.request.digest)
    for run in consent.runs_of_request(session, case.request.digest):
        if run.state == "released":
            raise TooLateError("this request has been answered; ask again for its answer", code="already_answered")
        if run.state == "decided" and run.at > now - RUN_LEASE:
            raise TooLateError("this request is being answered", code="run_in_progress")
        if run.state == "decided":
            _fail(session, space, run.run_id, run.request_digest, "interrupted", now)


def _prove(space: Space, leaf_hashes: list[str]) -> Proven:
    """As :meth:`Space.prove`; whatever keeps the log from proving, nothing is released without it."""
    try:
        return space.prove(leaf_hashes)
    except (DataspaceError, SQLAlchemyError) as error:
        _log.warning("log_unavailable", error=getattr(error, "code", type(error).__name__))
        raise LogNotReadyError("the log or its witness cannot be reached at present") from error


def _ordered(case: Case, allowed: list[StoredGrant]) -> list[StoredGrant]:
    """Allowed grants first, in the order of their digests; then the others."""
    names = {grant.grant_digest for grant in allowed}
    return allowed + [grant for name, grant in sorted(case.grants.items()) if name not in names]


def _use_entry(case: Case, grant: StoredGrant, common: dict[str, str], now: int) -> NewEntry:
    one = case.decision.grants.get(grant.grant_digest)
    ok = case.decision.outcome is Outcome.ALLOW and one is not None and one.outcome is Outcome.ALLOW
    reasons = [] if ok else list((one.reasons if one else ()) or _reasons(case.decision))
    fields = {
        **common,
        "grant_digest": grant.grant_digest,
        "purpose": case.listed.product.content.purpose,
        "outcome": "allow" if ok else "deny",
        "reasons": reasons,
    }
    return NewEntry("use.decided", now, fields, case.subjects[grant.resident_id])


def _use_row(case: Case, grant: StoredGrant, now: int) -> dict[str, Any]:
    product = case.listed.product.content
    return {
        "resident_id": grant.resident_id,
        "grant_digest": grant.grant_digest,
        "request_digest": case.request.digest,
        "operator_id": product.operator_id,
        "millibits": millibits(product),
        "elements": json.dumps(elements(product)),
        "at": now,
    }


def _run(space: Space, case: Case, decided: Decided, now: int) -> Answer:
    """Hand the case to the node, which opens what the broker lets it; then the second commit."""
    try:
        result = space.node.run(_job(space, case, decided))
    except DataspaceError as error:
        _end_run(space, case, error.code, now)
        if error.status >= 500:
            raise
        return {"status": "denied", "reasons": sentences((error.code,))}
    except Exception:
        _end_run(space, case, "internal_error", now)
        raise
    return _answered(space, _record_release(space, case, result, now))


def _record_release(space: Space, case: Case, result: dict[str, Any], now: int) -> StoredRun:
    """Second commit. The node may bring what it made for an earlier run of this request that was interrupted."""
    made_for = Release.claimed(str(result["release"])).run_id
    with space.database.write() as session:
        consent.lock_request(session, case.request.digest)
        known = _released(session, case.request.digest)
        if known is None:
            runs = {run.run_id: run for run in consent.runs_of_request(session, case.request.digest)}
            if made_for not in runs:
                raise RequestRefusedError("the node answers for a run that was never decided", code="run_unknown")
            fields = {
                "run_id": made_for,
                "request_digest": case.request.digest,
                "result_digest": sealed_result_digest(unb64(str(result["sealed"]))),
                "decision": runs[made_for].decision,
            }
            if made_for != case.run_id:
                _fail(session, space, case.run_id, case.request.digest, "answered_by_earlier_run", now)
            released = space.log.append(session, kind="run.released", at=now, fields=fields)
            consent.finish_run(session, made_for, "released", released.leaf_hash, result)
            known = replace(runs[made_for], state="released", released=released.leaf_hash, answer=result)
    return known


def _fail(session: Session, space: Space, run_id: str, request_digest: str, reason: str, now: int) -> None:
    fields = {"run_id": run_id, "request_digest": request_digest, "reason": reason}
    space.log.append(session, kind="run.failed", at=now, fields=fields)
    consent.finish_run(session, run_id, "failed", None, None)


def _end_run(space: Space, case: Case, reason: str, now: int) -> None:
    """No answer came. The run ends; the same request may be tried again where the reason has gone."""
    with space.database.write() as session:
        consent.lock_request(session, case.request.digest)
        open_runs = {r.run_id for r in consent.runs_of_request(session, case.request.digest) if r.state == "decided"}
        if case.run_id in open_runs:
            _fail(session, space, case.run_id, case.request.digest, reason, now)
    space.sequencer.wake()


def _unwritten(space: Space, case: Case, now: int) -> LogNotReadyError:
    """The database, and with it the log, could not be written: nothing is handed out. Ends the run if it can."""
    try:
        _end_run(space, case, "log_unavailable", now)
    except SQLAlchemyError as error:
        _log.error("run_left_open", run_id=case.run_id, error=type(error).__name__)
    return LogNotReadyError("the log cannot be written at present")


def _answered(space: Space, run: StoredRun) -> Answer:
    result, released = run.answer or {}, run.released or ""
    proven = _prove(space, [run.decision, released])
    return {
        "status": "answered",
        "answer": {
            "sealed": result["sealed"],
            "ear": result["ear"],
            "release": result["release"],
            "decision": proven.bundles[0],
            "released": proven.bundles[1],
        },
    }


def _job(space: Space, case: Case, decided: Decided) -> dict[str, Any]:
    """The whole case for the node: signed papers, grants with their log entries, sealed records."""
    allowed = case.allowed
    names = [item.collection for item in case.listed.product.content.inputs]
    with space.database.read() as session:
        records = vault.records_of(session, [grant.resident_id for grant in allowed], names)
        sources = identity.sources(session)
    grants = []
    for grant, bundle in zip(allowed, decided.proven.bundles, strict=False):
        terms = Grant.claimed(grant.token).grant
        grants.append(
            {
                "papers": {"grant": grant.token, "sealed": list(grant.sealed)},
                "entry": bundle,
                "records": [
                    {
                        "record_id": record.record_id,
                        "slot_id": record.context.slot_id,
                        "collection": record.context.collection,
                        "source_id": record.context.source_id,
                        "slot": b64(record.sealed_slot) if terms.mode == "ongoing" else "",
                        "sealed": b64(record.sealed),
                    }
                    for record in records[grant.resident_id]
                    if _within(terms, record.context)
                ],
            }
        )
    return {
        "run_id": case.run_id,
        "papers": papers(case.listed),
        "request": case.request.token,
        "checkpoint": decided.proven.checkpoint,
        "decision": decided.proven.bundles[-1],
        "sources": list(sources.values()),
        "grants": grants,
    }


def _within(terms: GrantTermsSigned, place: SlotContext) -> bool:
    """Records that the grant's keys can open: its slots when one-time, its epoch when ongoing."""
    scope = next(item for item in terms.scope if item.collection == place.collection)
    return scope.epoch_key == place.epoch_key and (terms.mode == "ongoing" or place.slot_id in scope.slots)


def recover(space: Space, now: int) -> int:
    """After a restart: runs that stopped between decision and answer end as failed; the operator may ask again.

    SQLite has one service process, so all of them are dead; elsewhere another process may be at work on young ones.
    """
    alone = space.database.engine.dialect.name == "sqlite"
    with space.database.write() as session:
        unfinished = consent.unfinished_runs(session, now if alone else now - RUN_LEASE)
        for run in unfinished:
            _fail(session, space, run.run_id, run.request_digest, "interrupted", now)
    space.sequencer.wake()
    return len(unfinished)
