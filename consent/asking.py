"""What a resident is asked, checked before it is shown; and the terms of a grant that answer exactly it.

``verify_product`` and ``verify_ask`` are the rules that client, service and broker share: they take signed objects and
pinned keys, and return verified contents or raise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from consent.errors import GrantInvalidError, RequestInvalidError
from consent.model import DAY, Grant, GrantKey, GrantTermsSigned, Notice, Product, Scope, UseRequest
from dataspace.kernel.encoding import digest
from dataspace.kernel.errors import SignatureInvalidError
from dataspace.kernel.ids import random_id
from dataspace.kernel.signed import Verified, key_bytes, verified
from dataspace.standard.register import Licence, Listing, reviewed


@dataclass(frozen=True)
class ListedProduct:
    """A product with the licence of its operator and its review, all verified up to the registrar."""

    licence: Verified[Licence]
    product: Verified[Product]
    listing: Verified[Listing]


@dataclass(frozen=True)
class Ask:
    """A verified question to one resident: who asks, what for, and the broker's key for the answer."""

    listed: ListedProduct
    request: Verified[UseRequest]
    grant_key: Verified[GrantKey]


@lru_cache(maxsize=256)
def verify_product(licence: str, product: str, listing: str, registrar: bytes) -> ListedProduct:
    """Licence and listing by the registrar, product by the licensed operator; their names agree."""
    licensed = verified(Licence, licence, registrar)
    manifest = verified(Product, product, key_bytes(licensed.content.key))
    review = reviewed(listing, registrar)
    if manifest.content.operator_id != licensed.content.operator_id:
        raise RequestInvalidError("the product is another operator's", code="product_operator_mismatch")
    if review.content.product_digest != manifest.digest:
        raise RequestInvalidError("the review is of another product", code="product_mismatch")
    _check_shape(manifest.content)
    return ListedProduct(licensed, manifest, review)


def _check_shape(product: Product) -> None:
    if (product.kind == "cohort") != (product.cohort is not None):
        raise RequestInvalidError("exactly the cohort products have a cohort rule")
    if product.grant.mode == "one_time" and product.grant.uses != 1:
        raise RequestInvalidError("a one-time grant has one use")
    names = [item.collection for item in product.inputs]
    if len(set(names)) != len(names):
        raise RequestInvalidError("a product names each collection once")


def verify_request(listed: ListedProduct, request: str) -> Verified[UseRequest]:
    """A request signed by the licensed operator for this product, with the parameters it is fixed to."""
    asked = verified(UseRequest, request, key_bytes(listed.licence.content.key))
    product = listed.product
    if asked.content.product_digest != product.digest:
        raise RequestInvalidError("the request is for another product", code="product_mismatch")
    if asked.content.purpose != product.content.purpose:
        raise RequestInvalidError("the request names another purpose", code="request_purpose_mismatch")
    if asked.content.parameters != product.content.computation.parameters:
        raise RequestInvalidError("parameters are fixed in the product", code="parameters_changed")
    if asked.content.subject.kind != product.content.kind:
        raise RequestInvalidError("the product is for the other kind of subject", code="request_invalid")
    if (asked.content.subject.handle is None) != (product.content.kind == "cohort"):
        raise RequestInvalidError("an individual is named by a handle, a cohort by its product's rule")
    return asked


def verify_grant_key(token: str, broker: bytes, request_digest: str, now: int) -> Verified[GrantKey]:
    """The broker's key for this request; one that the pinned broker did not sign is refused."""
    try:
        key = verified(GrantKey, token, broker)
    except SignatureInvalidError as error:
        raise RequestInvalidError("this key is not the broker's", code="substituted_broker_key") from error
    if key.content.request_digest != request_digest:
        raise RequestInvalidError("the broker made this key for another request", code="substituted_broker_key")
    if now >= key.content.not_after:
        raise RequestInvalidError("the time to answer is over", code="ask_expired")
    return key


def notice_of(ask: Ask, language: Literal["zh", "en"], *, answer_shown: bool) -> Notice:
    """Evidence of the words on the screen: who asks and the product's sentence, in the language shown."""
    product, licence = ask.listed.product.content, ask.listed.licence.content
    name, sentence = getattr(licence.name, language), getattr(product.sentence, language)
    shown = digest("notice", name, sentence, ask.listed.product.digest)
    return Notice(digest=shown, language=language, answer_shown=answer_shown)


def write_terms(
    ask: Ask,
    *,
    subject: str,
    epochs: Mapping[str, tuple[int, str]],
    slots: Mapping[str, Sequence[str]],
    separate_consent: Sequence[str],
    notice: Notice,
    now: int,
) -> GrantTermsSigned:
    """The terms that answer ``ask``: exactly the product's fields, purpose, period and uses, nothing wider.

    ``epochs`` gives (number, key digest) and ``slots`` the slot ids of each collection (one-time grants only).
    """
    product, request = ask.listed.product, ask.request
    terms = product.content.grant
    scope = tuple(
        Scope(
            collection=item.collection,
            fields=item.fields,
            epoch=epochs[item.collection][0],
            epoch_key=epochs[item.collection][1],
            slots=tuple(slots[item.collection]) if terms.mode == "one_time" else (),
        )
        for item in product.content.inputs
    )
    return GrantTermsSigned(
        grant_id=random_id(),
        subject=subject,
        recipient=request.content.operator_id,
        product_digest=product.digest,
        request_digest=request.digest,
        purpose=product.content.purpose,
        mode=terms.mode,
        scope=scope,
        not_before=now,
        not_after=now + terms.days * DAY,
        uses=terms.uses,
        least_node_class=product.content.least_node_class,
        broker_key=ask.grant_key.content.key_id,
        separate_consent=tuple(separate_consent),
        notice=notice,
        issued_at=now,
    )


def check_grant_shape(grant: Grant, sealed: Sequence[bytes]) -> None:
    """The sealed keys beside a grant are exactly those that it signs: one a slot, or one an epoch."""
    from_terms = [
        (scope.collection, scope.epoch_key, "slot" if slot else "epoch", slot)
        for scope in grant.grant.scope
        for slot in (scope.slots if grant.grant.mode == "one_time" else ("",))
    ]
    named = [(key.collection, key.epoch_key, key.kind, key.slot) for key in grant.sealed]
    if named != from_terms:
        raise GrantInvalidError("the sealed keys are not those of the grant's scope")
    if [key.digest for key in grant.sealed] != [digest("sealed-key", item) for item in sealed]:
        raise GrantInvalidError("the sealed keys are not those that were signed", code="swapped_sealed_keys")
    if grant.grant.mode == "ongoing" and any(scope.slots for scope in grant.grant.scope):
        raise GrantInvalidError("an ongoing grant names no slots")
    if not grant.grant.issued_at <= grant.grant.not_before < grant.grant.not_after:
        raise GrantInvalidError("the grant's period is empty")


def check_grant_answers(grant: GrantTermsSigned, listed: ListedProduct, request: UseRequest) -> None:
    """A grant covers ``request`` for ``listed``: recipient, product, purpose, fields; period and uses not wider."""
    product = listed.product
    wanted = {item.collection: item.fields for item in product.content.inputs}
    given = {scope.collection: scope.fields for scope in grant.scope}
    rules = (
        (grant.recipient == request.operator_id, "recipient_mismatch"),
        (grant.purpose == request.purpose == product.content.purpose, "purpose_not_granted"),
        (_covers(given, wanted), "field_outside_grant"),
        (grant.product_digest == product.digest == request.product_digest, "grant_product_mismatch"),
        (grant.mode == product.content.grant.mode and grant.uses <= product.content.grant.uses, "grant_too_wide"),
        (grant.not_after - grant.not_before <= product.content.grant.days * DAY, "grant_too_wide"),
    )
    for holds, code in rules:
        if not holds:
            raise GrantInvalidError("the grant does not cover this use", code=code)


def _covers(given: Mapping[str, Sequence[str]], wanted: Mapping[str, Sequence[str]]) -> bool:
    return all(name in given and set(fields) <= set(given[name]) for name, fields in wanted.items())
