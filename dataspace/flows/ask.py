"""Products are listed, operators ask, residents are shown verified questions."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from consent import store as consent
from consent.asking import ListedProduct, verify_product, verify_request
from consent.model import UseRequest
from consent.store import StoredProduct
from dataspace.flows.errors import RequestRefusedError
from dataspace.flows.space import Space
from dataspace.identity import store as identity
from dataspace.standard import purpose
from vault import store as vault

HANDLE_SECONDS = 3600


def list_product(space: Space, operator_id: str, product: str, listing: str, now: int) -> str:
    """The digest of a product that its operator has signed and two reviewers have listed."""
    with space.database.write() as session:
        listed = verify_product(_licence(session, operator_id), product, listing, space.registrar)
        content = listed.product.content
        purpose(content.purpose)
        if content.operator_id != operator_id:
            raise RequestRefusedError("the product is another operator's", code="product_operator_mismatch")
        if consent.product(session, listed.product.digest) is None:
            row = StoredProduct(listed.product.digest, operator_id, "listed", product, listing)
            consent.put_product(session, row)
            fields = {"product_digest": listed.product.digest, "operator_id": operator_id}
            space.log.append(session, kind="product.listed", at=now, fields=fields)
    space.sequencer.wake()
    return listed.product.digest


def catalogue(space: Space) -> list[dict[str, str]]:
    """Signed manifests and reviews of everything that is listed."""
    with space.database.read() as session:
        return [
            {"product_digest": row.product_digest, "product": row.product, "listing": row.listing}
            for row in consent.products(session)
        ]


def submit_request(space: Space, operator_id: str, token: str, now: int) -> str:
    """The digest of a signed use request, after everyone whom its product concerns has been asked.

    The answer never depends on whether a handle, a resident or data exists. The same request again changes nothing.
    """
    claimed = UseRequest.claimed(token)
    with space.database.read() as session:
        listed = listed_product(session, space, operator_id, claimed.product_digest)
        request = verify_request(listed, token)
        if consent.request(session, request.digest) is not None:
            return request.digest
        if not request.content.issued_at - 60 <= now < request.content.not_after:
            raise RequestRefusedError("the request is not valid at this time", code="request_expired")
        if not listed.licence.content.valid_at(now):
            raise RequestRefusedError("the licence is not valid at this time", code="expired_licence")
        residents = _cohort(session, listed) if listed.product.content.cohort else []
    handle = request.content.subject.handle
    keys = _grant_keys(space, listed, token, len(residents) if handle is None else 1)
    with space.database.write() as session:
        if consent.request(session, request.digest) is not None:
            return request.digest
        if handle is not None:  # a key is made in any case, so that time does not tell whether anybody is behind it
            found = identity.take_handle(session, handle, operator_id, now)
            residents, keys = ([found], keys) if found else ([], [])
        consent.add_request(session, request.digest, operator_id, listed.product.digest, token, now)
        consent.add_asks(session, request.digest, listed.product.digest, list(zip(residents, keys, strict=True)))
    return request.digest


def _cohort(session: Session, listed: ListedProduct) -> list[str]:
    """Residents whom the reviewed rule names, without those who have been asked about this product before."""
    rule = listed.product.content.cohort
    if rule is None:
        return []
    members = [resident.resident_id for resident in identity.residents_of_space(session, rule.space)]
    held = vault.collections_of(session, members)
    before = consent.answered_before(session, listed.product.digest)
    wanted = set(rule.collections)
    return [name for name in members if name not in before and wanted <= held.get(name, set())]


def _grant_keys(space: Space, listed: ListedProduct, request: str, count: int) -> list[str]:
    keys: list[str] = []
    while len(keys) < count:
        keys += space.broker.grant_keys(papers(listed), request, min(1000, count - len(keys)))
    return keys


def questions(space: Space, subject: str) -> list[dict[str, str]]:
    """What waits for this resident: only signed objects, so that the client can verify every word of it."""
    with space.database.read() as session:
        resident = identity.resident_of(session, subject)
        found = []
        for request_digest, product_digest, grant_key in consent.asks(session, resident.resident_id):
            known = consent.request(session, request_digest)
            product = consent.product(session, product_digest)
            if known is None or product is None:
                continue
            papers_of = {"licence": _licence(session, known[0]), "product": product.product, "listing": product.listing}
            found.append({**papers_of, "request": known[1], "grant_key": grant_key})
        return found


def new_handle(space: Space, subject: str, operator_id: str, now: int) -> str:
    """A one-time name that the resident may give to one operator."""
    with space.database.write() as session:
        resident = identity.resident_of(session, subject)
        return identity.new_handle(session, resident.resident_id, operator_id, now + HANDLE_SECONDS)


def listed_product(session: Session, space: Space, operator_id: str, product_digest: str) -> ListedProduct:
    """A product of this operator with its papers, verified again from its stored bytes."""
    row = consent.product(session, product_digest)
    if row is None or row.operator_id != operator_id:
        raise RequestRefusedError("no such product of this operator is listed", code="product_not_listed")
    return verify_product(_licence(session, operator_id), row.product, row.listing, space.registrar)


def papers(listed: ListedProduct) -> dict[str, Any]:
    """The signed objects of a product, as broker and node expect them."""
    return {"licence": listed.licence.token, "product": listed.product.token, "listing": listed.listing.token}


def _licence(session: Session, operator_id: str) -> str:
    known = identity.operator(session, operator_id)
    if known is None:
        raise RequestRefusedError("the operator is not licensed", code="licence_unknown")
    return known[0]
