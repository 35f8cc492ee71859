"""From verified objects to the facts of a decision; service and broker differ only in what they have verified."""

from __future__ import annotations

from collections.abc import Mapping

from consent.asking import ListedProduct
from consent.decide import CollectionFields, GrantFacts, LicenceFacts, ProductFacts, RequestFacts
from consent.meter import LIMIT_MILLIBITS, millibits
from consent.model import GrantTermsSigned, UseRequest
from dataspace.kernel.signed import Verified
from dataspace.standard import collection
from dataspace.standard.register import Licence


def request_facts(request: Verified[UseRequest]) -> RequestFacts:
    """Of a request that ``verify_request`` has accepted, so its parameters are the product's."""
    content = request.content
    return RequestFacts(
        operator_id=content.operator_id,
        product_digest=content.product_digest,
        purpose=content.purpose,
        request_digest=request.digest,
        parameters_match=True,
        not_after=content.not_after,
    )


def licence_facts(licence: Verified[Licence], status: str) -> LicenceFacts:
    content = licence.content
    return LicenceFacts(
        operator_id=content.operator_id,
        status=status,
        not_before=content.not_before,
        not_after=content.not_after,
        purposes=content.purposes,
        collections=content.collections,
    )


def product_facts(listed: ListedProduct, status: str) -> ProductFacts:
    content, listing = listed.product.content, listed.listing.content
    return ProductFacts(
        product_digest=listed.product.digest,
        operator_id=content.operator_id,
        kind=content.kind,
        status=status,
        listing_not_before=listing.not_before,
        listing_not_after=listing.not_after,
        purpose=content.purpose,
        inputs=tuple(CollectionFields(item.collection, item.fields) for item in content.inputs),
        least_node_class=content.least_node_class,
        millibits=millibits(content),
        meter_limit_millibits=LIMIT_MILLIBITS,
    )


def grant_facts(
    grant_digest: str,
    terms: GrantTermsSigned,
    *,
    state: str,
    uses: int,
    listed: ListedProduct,
    spent_millibits: Mapping[str, int],
) -> GrantFacts:
    """``uses`` is how often other requests have used the grant. No resident has a registered guardian yet."""
    return GrantFacts(
        grant_digest=grant_digest,
        subject=terms.subject,
        recipient=terms.recipient,
        product_digest=terms.product_digest,
        purpose=terms.purpose,
        mode=terms.mode,
        not_before=terms.not_before,
        not_after=terms.not_after,
        uses_left=max(0, terms.uses - uses),
        state=state,
        scope=tuple(CollectionFields(scope.collection, scope.fields) for scope in terms.scope),
        separate_consent=terms.separate_consent,
        least_node_class=terms.least_node_class,
        sensitive=sensitive_collections(listed),
        spent_millibits=spent_millibits,
        guardian_required=False,
        guardian_granted=False,
    )


def sensitive_collections(listed: ListedProduct) -> tuple[str, ...]:
    """Collections of the product whose use needs a separate act of consent (PIPL 29)."""
    return tuple(i.collection for i in listed.product.content.inputs if collection(i.collection).sensitive)
