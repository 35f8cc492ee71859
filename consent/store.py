"""The one place that reads and writes the tables of consent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, func, select, update
from sqlmodel import Session, SQLModel, col

from consent.model import Grant
from consent.tables import AskRow, GrantRow, ProductRow, RefusalRow, RequestRow, RunRow, UseRow
from dataspace.kernel.db import insert_new, upsert

RECORDED, ACTIVE, WITHDRAWING, WITHDRAWN, REFUSED = "recorded", "active", "withdrawing", "withdrawn", "refused"
_ALL = SQLModel.metadata.tables
_PRODUCTS: Table = _ALL[str(ProductRow.__tablename__)]
_REQUESTS: Table = _ALL[str(RequestRow.__tablename__)]
_ASKS: Table = _ALL[str(AskRow.__tablename__)]
_USES: Table = _ALL[str(UseRow.__tablename__)]


@dataclass(frozen=True)
class StoredProduct:
    product_digest: str
    operator_id: str
    status: str
    product: str
    listing: str


@dataclass(frozen=True)
class StoredGrant:
    """A grant as stored: ``token`` and ``sealed`` are the exact signed and sealed objects."""

    resident_id: str
    grant_digest: str
    request_digest: str
    product_digest: str
    state: str
    entry: str
    token: str
    sealed: tuple[str, ...]
    broker_state: str | None
    receipt: str | None
    withdrawal: str | None


@dataclass(frozen=True)
class StoredRun:
    run_id: str
    request_digest: str
    state: str
    outcome: str
    reasons: tuple[str, ...]
    decision: str
    released: str | None
    answer: dict[str, Any] | None
    at: int = 0


# products and requests


def put_product(session: Session, row: StoredProduct) -> None:
    upsert(session, _PRODUCTS, vars(row))


def product(session: Session, product_digest: str) -> StoredProduct | None:
    row = session.get(ProductRow, product_digest)
    return _product(row) if row else None


def products(session: Session) -> list[StoredProduct]:
    query = select(ProductRow).where(col(ProductRow.status) == "listed").order_by(col(ProductRow.product_digest))
    return [_product(row) for row in session.scalars(query)]


def _product(row: ProductRow) -> StoredProduct:
    return StoredProduct(row.product_digest, row.operator_id, row.status, row.product, row.listing)


def add_request(
    session: Session, request_digest: str, operator_id: str, product_digest: str, token: str, now: int
) -> None:
    """A received request; the same again changes nothing."""
    row = {
        "request_digest": request_digest,
        "operator_id": operator_id,
        "product_digest": product_digest,
        "received_at": now,
        "token": token,
    }
    insert_new(session, _REQUESTS, [row])


def lock_request(session: Session, request_digest: str) -> None:
    """Other runs of this request wait until the transaction ends."""
    query = select(col(RequestRow.request_digest)).where(col(RequestRow.request_digest) == request_digest)
    session.execute(query.with_for_update())


def request(session: Session, request_digest: str) -> tuple[str, str] | None:
    """(operator_id, signed request), or None."""
    row = session.get(RequestRow, request_digest)
    return (row.operator_id, row.token) if row else None


def requests(session: Session, digests: Sequence[str]) -> dict[str, str]:
    query = select(col(RequestRow.request_digest), col(RequestRow.token)).where(
        col(RequestRow.request_digest).in_(digests)
    )
    found: dict[str, str] = {}
    found.update((digest, token) for digest, token in session.execute(query))
    return found


# asks and refusals


def add_asks(session: Session, request_digest: str, product_digest: str, keys: Sequence[tuple[str, str]]) -> None:
    """One question to each (resident_id, signed grant key); who was asked already keeps the first key."""
    rows = [
        {
            "resident_id": resident_id,
            "request_digest": request_digest,
            "product_digest": product_digest,
            "state": "asked",
            "grant_key": grant_key,
        }
        for resident_id, grant_key in keys
    ]
    insert_new(session, _ASKS, rows)


def asks(session: Session, resident_id: str) -> list[tuple[str, str, str]]:
    """(request digest, product digest, signed grant key) of the questions that wait for this resident."""
    query = select(AskRow).where(col(AskRow.resident_id) == resident_id, col(AskRow.state) == "asked")
    return [(row.request_digest, row.product_digest, row.grant_key) for row in session.scalars(query)]


def ask_state(session: Session, resident_id: str, request_digest: str) -> tuple[str, str] | None:
    """(state, signed grant key), or None when this resident was not asked."""
    row = session.get(AskRow, (resident_id, request_digest))
    return (row.state, row.grant_key) if row else None


def answer_ask(session: Session, resident_id: str, request_digest: str, state: str) -> bool:
    """Whether the question was still open; then it is answered now. Of two writers, one gets True."""
    change = update(AskRow).where(
        col(AskRow.resident_id) == resident_id,
        col(AskRow.request_digest) == request_digest,
        col(AskRow.state) == "asked",
    )
    return _changed(session, change.values(state=state))


def answered_before(session: Session, product_digest: str) -> set[str]:
    """Residents who have been asked about this product already: nobody is asked again after a refusal (ND-07)."""
    query = select(col(AskRow.resident_id)).where(col(AskRow.product_digest) == product_digest).distinct()
    return set(session.scalars(query))


def add_refusal(session: Session, resident_id: str, request_digest: str, token: str, receipt: str) -> None:
    session.add(RefusalRow(resident_id=resident_id, request_digest=request_digest, token=token, receipt=receipt))


def refusal_receipt(session: Session, resident_id: str, request_digest: str) -> str | None:
    row = session.get(RefusalRow, (resident_id, request_digest))
    return row.receipt if row else None


# grants


def add_grant(
    session: Session, resident_id: str, content: Grant, token: str, sealed: Sequence[str], entry: str
) -> None:
    """A signed grant with its sealed keys, ``recorded`` under the log entry ``entry``; not yet active."""
    terms = content.grant
    session.add(
        GrantRow(
            resident_id=resident_id,
            grant_digest=terms.digest(),
            request_digest=terms.request_digest,
            product_digest=terms.product_digest,
            recipient=terms.recipient,
            state=RECORDED,
            not_after=terms.not_after,
            entry=entry,
            token=token,
            sealed=json.dumps(list(sealed)),
        )
    )


def grant(session: Session, resident_id: str, grant_digest: str) -> StoredGrant | None:
    row = session.get(GrantRow, (resident_id, grant_digest))
    return _grant(row) if row else None


def grants_of_resident(session: Session, resident_id: str) -> list[StoredGrant]:
    query = select(GrantRow).where(col(GrantRow.resident_id) == resident_id).order_by(col(GrantRow.grant_digest))
    return [_grant(row) for row in session.scalars(query)]


def grants_of_product(session: Session, product_digest: str, operator_id: str) -> list[StoredGrant]:
    """All grants that name this product and recipient, whatever their state."""
    query = select(GrantRow).where(
        col(GrantRow.product_digest) == product_digest, col(GrantRow.recipient) == operator_id
    )
    return [_grant(row) for row in session.scalars(query.order_by(col(GrantRow.resident_id)))]


def grants_of_request(session: Session, request_digest: str) -> list[StoredGrant]:
    query = select(GrantRow).where(col(GrantRow.request_digest) == request_digest)
    return [_grant(row) for row in session.scalars(query)]


def grants_in_state(session: Session, state: str, limit: int) -> list[StoredGrant]:
    """Work for the background: grants that have not come to rest."""
    query = select(GrantRow).where(col(GrantRow.state) == state).limit(limit)
    return [_grant(row) for row in session.scalars(query)]


def move_grant(
    session: Session, resident_id: str, grant_digest: str, source: str | Sequence[str], state: str, **values: Any
) -> bool:
    """Set ``state`` and other columns if the grant is in a state of ``source``. Of two writers, one gets True."""
    sources = [source] if isinstance(source, str) else list(source)
    change = update(GrantRow).where(
        col(GrantRow.resident_id) == resident_id,
        col(GrantRow.grant_digest) == grant_digest,
        col(GrantRow.state).in_(sources),
    )
    return _changed(session, change.values(state=state, **values))


def _changed(session: Session, statement: Any) -> bool:
    result: Any = session.execute(statement)
    return bool(result.rowcount == 1)


def _grant(row: GrantRow) -> StoredGrant:
    return StoredGrant(
        resident_id=row.resident_id,
        grant_digest=row.grant_digest,
        request_digest=row.request_digest,
        product_digest=row.product_digest,
        state=row.state,
        entry=row.entry,
        token=row.token,
        sealed=tuple(json.loads(row.sealed)),
        broker_state=row.broker_state,
        receipt=row.receipt,
        withdrawal=row.withdrawal,
    )


# runs, uses, meter


def add_run(session: Session, run: StoredRun, at: int) -> None:
    session.add(
        RunRow(
            run_id=run.run_id,
            request_digest=run.request_digest,
            state=run.state,
            outcome=run.outcome,
            reasons=json.dumps(run.reasons),
            decision=run.decision,
            at=at,
        )
    )


def finish_run(session: Session, run_id: str, state: str, released: str | None, answer: dict[str, Any] | None) -> None:
    row = session.get_one(RunRow, run_id)
    row.state = state
    row.released = released
    row.answer = json.dumps(answer) if answer is not None else None
    session.add(row)


def runs_of_request(session: Session, request_digest: str) -> list[StoredRun]:
    query = select(RunRow).where(col(RunRow.request_digest) == request_digest).order_by(col(RunRow.at))
    return [_run(row) for row in session.scalars(query)]


def unfinished_runs(session: Session, before: int) -> list[StoredRun]:
    """Runs decided at ``before`` or earlier that have neither an answer nor a failure."""
    query = select(RunRow).where(col(RunRow.state) == "decided", col(RunRow.at) <= before)
    return [_run(row) for row in session.scalars(query.order_by(col(RunRow.at), col(RunRow.run_id)))]


def decisions(session: Session) -> dict[str, int]:
    """How many runs had which outcome."""
    query = select(col(RunRow.outcome), func.count()).group_by(col(RunRow.outcome))
    return {outcome: int(number) for outcome, number in session.execute(query)}


def _run(row: RunRow) -> StoredRun:
    answer = json.loads(row.answer) if row.answer else None
    reasons = tuple(json.loads(row.reasons))
    return StoredRun(
        row.run_id, row.request_digest, row.state, row.outcome, reasons, row.decision, row.released, answer, row.at
    )


def add_uses(session: Session, rows: list[dict[str, Any]]) -> None:
    """Rows of ``grant_uses``; a use of the same grant for the same request is one use."""
    insert_new(session, _USES, rows)


def uses_of_grants(session: Session, digests: Sequence[str], except_request: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for start in range(0, len(digests), 400):
        part = digests[start : start + 400]
        query = (
            select(col(UseRow.grant_digest), func.count())
            .where(col(UseRow.grant_digest).in_(part), col(UseRow.request_digest) != except_request)
            .group_by(col(UseRow.grant_digest))
        )
        found.update({digest: int(number) for digest, number in session.execute(query)})
    return found


def spent_millibits(
    session: Session, resident_id: str, operator_id: str, since: int, except_request: str
) -> dict[str, int]:
    """Millibits told to ``operator_id`` about this resident since then, by data element."""
    query = select(UseRow).where(
        col(UseRow.resident_id) == resident_id,
        col(UseRow.operator_id) == operator_id,
        col(UseRow.at) > since,
        col(UseRow.request_digest) != except_request,
    )
    spent: dict[str, int] = {}
    for row in session.scalars(query):
        for element in json.loads(row.elements):
            spent[element] = spent.get(element, 0) + row.millibits
    return spent
