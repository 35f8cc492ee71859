"""A resident's answer: grant, refusal, withdrawal. Order everywhere: log, then broker, then database.

A crash between two steps leaves a state that :func:`settle` takes up again: ``recorded`` grants go to the broker,
``withdrawing`` ones have their keys destroyed. Until the broker has confirmed, a grant is not active. Every change of
state names the state it starts from, so that a withdrawal is never overwritten by a confirmation on its way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import structlog
from sqlmodel import Session

from consent import store as consent
from consent.asking import check_grant_answers, check_grant_shape, verify_request
from consent.model import Grant, GrantKey, Refusal, UseRequest, Withdrawal
from consent.receipts import write_receipt
from consent.store import ACTIVE, RECORDED, REFUSED, WITHDRAWING, WITHDRAWN, StoredGrant
from dataspace.flows.ask import listed_product, papers
from dataspace.flows.errors import RequestRefusedError, TooLateError
from dataspace.flows.space import Space
from dataspace.identity import store as identity
from dataspace.identity.store import Resident
from dataspace.kernel.encoding import unb64
from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.signed import Verified, verified
from dataspace.standard import collection
from vault import store as vault
from vault.statements import KeyChain, follow

_log = structlog.get_logger(__name__)
BATCH = 500
SETTLE_SECONDS = 15.0
"""How long a withdrawal waits for its turn at the broker before it is left to the background."""


def submit_grant(space: Space, subject: str, token: str, sealed: Sequence[str], now: int) -> str:
    """Record a grant and its log entry in one commit; it becomes active once the broker has taken it.

    Answers the grant's digest; the same grant again changes nothing.
    """
    with space.database.write() as session:
        resident, chain = _lock(session, subject)
        grant = verified(Grant, token, chain.signing_key)
        terms = grant.content.grant
        grant_digest = terms.digest()
        check_grant_shape(grant.content, [unb64(item) for item in sealed])
        if consent.grant(session, resident.resident_id, grant_digest) is not None:
            return grant_digest
        _check_grant(session, space, resident.resident_id, chain, grant, now)
        fields = {
            "grant_digest": grant_digest,
            "request_digest": terms.request_digest,
            "product_digest": terms.product_digest,
            "operator_id": terms.recipient,
            "purpose": terms.purpose,
            "not_after": terms.not_after,
        }
        entry = space.log.append(session, kind="grant.recorded", at=now, fields=fields, subject=subject)
        consent.add_grant(session, resident.resident_id, grant.content, token, sealed, entry.leaf_hash)
        consent.answer_ask(session, resident.resident_id, terms.request_digest, "granted")
    space.sequencer.wake()
    return grant_digest


def _lock(session: Session, subject: str) -> tuple[Resident, KeyChain]:
    """A resident and the verified key chain; whatever else this resident decides waits until the transaction ends."""
    resident = identity.lock_resident(session, subject)
    return resident, follow(identity.statements_of(session, resident.resident_id), subject)


def _check_grant(
    session: Session, space: Space, resident_id: str, chain: KeyChain, grant: Verified[Grant], now: int
) -> None:
    """The grant answers a question that was put to this resident, with this resident's current keys."""
    terms = grant.content.grant
    asked = consent.ask_state(session, resident_id, terms.request_digest)
    if asked is None or terms.subject != chain.subject:
        raise RequestRefusedError("this resident was not asked that", code="not_asked")
    if asked[0] != "asked":
        raise TooLateError("this question has been answered", code="already_answered")
    if GrantKey.claimed(asked[1]).key_id != terms.broker_key:
        raise RequestRefusedError(
            "the grant is sealed to another key than the one shown", code="substituted_broker_key"
        )
    known = consent.request(session, terms.request_digest)
    if known is None:
        raise RequestRefusedError("no such request", code="not_asked")
    listed = listed_product(session, space, known[0], terms.product_digest)
    check_grant_answers(terms, listed, verify_request(listed, known[1]).content)
    for scope in terms.scope:
        epoch = chain.epochs.get(scope.collection)
        if epoch is None or (epoch.epoch, epoch.key_digest) != (scope.epoch, scope.epoch_key):
            raise RequestRefusedError("the grant names an epoch that is not current", code="retired_epoch")
        if collection(scope.collection).sensitive and scope.collection not in terms.separate_consent:
            raise RequestRefusedError("sensitive data needs a separate consent", code="separate_consent_missing")
    if abs(now - terms.issued_at) > 600:
        raise RequestRefusedError("the grant is not of this moment", code="stale_grant")


def refuse(space: Space, subject: str, token: str, now: int) -> str:
    """Record a refusal; answers its signed receipt. Nobody asks for a reason."""
    with space.database.write() as session:
        resident, chain = _lock(session, subject)
        refusal = verified(Refusal, token, chain.signing_key).content
        asked = consent.ask_state(session, resident.resident_id, refusal.request_digest)
        if asked is None or refusal.subject != subject:
            raise RequestRefusedError("this resident was not asked that", code="not_asked")
        if asked[0] != "asked":
            receipt = consent.refusal_receipt(session, resident.resident_id, refusal.request_digest)
            if receipt is None:
                raise TooLateError("this question has been answered", code="already_answered")
            return receipt
        known = consent.request(session, refusal.request_digest)
        operator_id = known[0] if known else ""
        fields = {"request_digest": refusal.request_digest, "operator_id": operator_id}
        entry = space.log.append(session, kind="grant.refused", at=now, fields=fields, subject=subject)
        listed_for = _purpose(session, space, refusal.request_digest)
        receipt = write_receipt(
            space.key,
            status="refused",
            receipt_id=entry.leaf_hash,
            subject=subject,
            controller=space.controller,
            recipient=operator_id,
            purpose=listed_for,
            about={"request_digest": refusal.request_digest},
            at=now,
            proof={"entry": entry.leaf_hash},
        )
        consent.answer_ask(session, resident.resident_id, refusal.request_digest, "refused")
        consent.add_refusal(session, resident.resident_id, refusal.request_digest, token, receipt)
    space.sequencer.wake()
    return receipt


def _purpose(session: Session, space: Space, request_digest: str) -> str:
    """Purpose of a stored request, from its verified bytes."""
    known = consent.request(session, request_digest)
    if known is None:
        raise RequestRefusedError("no such request", code="not_asked")
    claimed = UseRequest.claimed(known[1])
    listed = listed_product(session, space, known[0], claimed.product_digest)
    return verify_request(listed, known[1]).content.purpose


def withdraw(
    space: Space, subject: str, token: str, statement: str | None, wraps: dict[str, Any] | None, now: int
) -> str:
    """Record a withdrawal (no use is allowed from this commit on), log it, have the key destroyed.

    For an ongoing grant the successor key statement comes in the same act. Answers the state: ``withdrawn``, or
    ``withdrawing`` while the broker cannot be reached.
    """
    with space.database.write() as session:
        resident, chain = _lock(session, subject)
        withdrawal = verified(Withdrawal, token, chain.signing_key).content
        grant = consent.grant(session, resident.resident_id, withdrawal.grant_digest)
        if grant is None or withdrawal.subject != subject:
            raise RequestRefusedError("no such grant of this resident", code="grant_unknown")
        if grant.state in (WITHDRAWN, WITHDRAWING):
            return grant.state
        _next_epochs(session, resident.resident_id, chain, grant, withdrawal, statement, wraps)
        fields = {"grant_digest": grant.grant_digest}
        space.log.append(session, kind="grant.withdrawn", at=now, fields=fields, subject=subject)
        moved = consent.move_grant(
            session,
            resident.resident_id,
            grant.grant_digest,
            (RECORDED, ACTIVE, REFUSED),
            WITHDRAWING,
            withdrawal=token,
        )
        if not moved:
            raise TooLateError("the grant has moved on; read its state")
    space.sequencer.wake()
    _destroy_now(space, now)
    with space.database.read() as session:
        after = consent.grant(session, resident.resident_id, withdrawal.grant_digest)
    return after.state if after else WITHDRAWING


def _next_epochs(
    session: Session,
    resident_id: str,
    chain: KeyChain,
    grant: StoredGrant,
    withdrawal: Withdrawal,
    statement: str | None,
    wraps: dict[str, Any] | None,
) -> None:
    """An ongoing grant held epoch seeds: its withdrawal starts new epochs of those collections in the same act."""
    terms = Grant.claimed(grant.token).grant
    if terms.mode == "one_time":
        return
    if statement is None or wraps is None:
        raise RequestRefusedError("the withdrawal of an ongoing grant starts new epochs", code="key_statement_missing")
    successor = chain.extend(statement)
    if successor.head != withdrawal.key_statement:
        raise RequestRefusedError("the withdrawal names another key statement", code="key_statement_mismatch")
    for scope in terms.scope:
        if successor.epochs[scope.collection].epoch <= scope.epoch:
            raise RequestRefusedError("the withdrawal leaves an epoch as it is", code="key_statement_mismatch")
    identity.add_statement(session, resident_id, successor.number, statement)
    vault.put_wraps(session, resident_id, json.dumps(wraps))


def _destroy_now(space: Space, now: int) -> None:
    """Have the keys of withdrawn grants destroyed if the broker answers; the background does it otherwise."""
    if not space.settling.acquire(timeout=SETTLE_SECONDS):
        return
    try:
        _settle_withdrawals(space, now)
    except DataspaceError as error:
        _log.warning("withdrawal_waits", code=error.code)
    finally:
        space.settling.release()


def settle(space: Space, now: int) -> int:
    """Carry every unfinished grant and withdrawal one step on; safe to run at any time, by any number of workers."""
    with space.settling:  # a grant on its way to the broker arrives there before its own withdrawal does
        return _settle_withdrawals(space, now) + _settle_grants(space, now)


def _settle_withdrawals(space: Space, now: int) -> int:
    with space.database.read() as session:
        waiting = consent.grants_in_state(session, WITHDRAWING, BATCH)
    known = [grant for grant in waiting if grant.withdrawal is not None]
    if not known:
        return 0
    answers = space.broker.withdraw([grant.withdrawal or "" for grant in known])
    changes = []
    for grant, answer in zip(known, answers, strict=True):
        if "state" in answer or answer["refused"] == "grant_unknown":
            receipt = _receipt(space, grant, "withdrawn", now)
            values = {"broker_state": answer.get("state"), "receipt": receipt, "sealed": "[]"}
            changes.append((grant, WITHDRAWN, values))
    return _move(space, changes, WITHDRAWING)


def _settle_grants(space: Space, now: int) -> int:
    with space.database.read() as session:
        waiting = consent.grants_in_state(session, RECORDED, BATCH)
        if not waiting:
            return 0
        subjects = identity.subjects_of(session, [grant.resident_id for grant in waiting])
        statements = {g.resident_id: identity.statements_of(session, g.resident_id) for g in waiting}
        requests = consent.requests(session, sorted({grant.request_digest for grant in waiting}))
        products, unusable = _papers_of(session, space, waiting)
    changes = [
        (g, REFUSED, {"broker_state": unusable[g.product_digest]}) for g in waiting if g.product_digest in unusable
    ]
    waiting = [grant for grant in waiting if grant.product_digest in products]
    if not waiting:
        return _move(space, changes, RECORDED)
    proven = space.prove([grant.entry for grant in waiting])
    batch = {
        "checkpoint": proven.checkpoint,
        "products": products,
        "requests": requests,
        "grants": [
            {
                "papers": {"grant": grant.token, "sealed": list(grant.sealed)},
                "statements": statements[grant.resident_id],
                "entry": bundle,
            }
            for grant, bundle in zip(waiting, proven.bundles, strict=True)
        ],
    }
    answers = space.broker.register(batch)
    for grant, bundle, answer in zip(waiting, proven.bundles, answers, strict=True):
        if "state" in answer:
            receipt = _receipt(space, grant, "granted", now, bundle, subjects[grant.resident_id])
            changes.append((grant, ACTIVE, {"broker_state": answer["state"], "receipt": receipt}))
        else:
            changes.append((grant, REFUSED, {"broker_state": answer["refused"]}))
    return _move(space, changes, RECORDED)


def _papers_of(
    session: Session, space: Space, waiting: Sequence[StoredGrant]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Papers of the grants' products by digest, and codes of the products whose papers no longer verify."""
    found: dict[str, dict[str, Any]] = {}
    unusable: dict[str, str] = {}
    for grant in waiting:
        recipient = Grant.claimed(grant.token).grant.recipient
        try:
            if grant.product_digest not in found:
                found[grant.product_digest] = papers(listed_product(session, space, recipient, grant.product_digest))
        except DataspaceError as error:
            unusable[grant.product_digest] = error.code
    return found, unusable


def _move(space: Space, changes: Sequence[tuple[StoredGrant, str, dict[str, Any]]], source: str) -> int:
    """Write what the broker answered, except where a grant has left the state ``source`` meanwhile."""
    with space.database.write() as session:
        return sum(
            consent.move_grant(session, grant.resident_id, grant.grant_digest, source, state, **values)
            for grant, state, values in changes
        )


def _receipt(
    space: Space, grant: StoredGrant, status: Any, now: int, proof: dict[str, Any] | None = None, subject: str = ""
) -> str:
    terms = Grant.claimed(grant.token).grant
    return write_receipt(
        space.key,
        status=status,
        receipt_id=grant.entry,
        subject=subject or terms.subject,
        controller=space.controller,
        recipient=terms.recipient,
        purpose=terms.purpose,
        about={
            "grant_digest": grant.grant_digest,
            "product_digest": grant.product_digest,
            "scope": [{"collection": s.collection, "fields": list(s.fields)} for s in terms.scope],
            "not_before": terms.not_before,
            "not_after": terms.not_after,
            "uses": terms.uses,
            "notice": terms.notice.digest,
        },
        at=now,
        proof=proof or {"entry": grant.entry},
    )


def grants_of(space: Space, subject: str) -> list[dict[str, Any]]:
    """A resident's grants with state, receipt and the broker's signed word."""
    with space.database.read() as session:
        resident = identity.resident_of(session, subject)
        return [
            {
                "grant_digest": grant.grant_digest,
                "request_digest": grant.request_digest,
                "state": grant.state,
                "grant": grant.token,
                "receipt": grant.receipt,
                "broker_state": grant.broker_state,
            }
            for grant in consent.grants_of_resident(session, resident.resident_id)
        ]
