"""Products: their digests, and the registrar's listing that makes them more than somebody's JSON. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping

from dataspace_sdk.encoding import Json, digest, members
from dataspace_sdk.errors import DataspaceSdkError, ListingInvalidError
from dataspace_sdk.jws import parse, payload_bytes, verify
from dataspace_sdk.model import Product
from dataspace_sdk.trust import OperatorIdentity, Trust

_LISTING: Mapping[str, type] = {
    "product_digest": str,
    "product_id": str,
    "version": int,
    "operator_id": str,
    "reviewers": list,
    "not_before": int,
    "not_after": int,
}
_MANIFEST: Mapping[str, type | tuple[type, ...]] = {
    "product_id": str,
    "version": int,
    "operator_id": str,
    "kind": str,
    "name": dict,
    "sentence": dict,
    "purpose": str,
    "inputs": list,
    "computation": dict,
    "output": dict,
    "grant": dict,
    "least_node_class": str,
    "cohort": (dict, type(None)),
}


def product_digest(payload: Mapping[str, Json]) -> str:
    """The name of a manifest: what residents agree to, reviewers list and evidence covers."""
    return digest("product", payload_bytes(dict(payload)))


def verify_listed(product: str, listing: str, trust: Trust, identity: OperatorIdentity) -> Product:
    """A product that the registrar has listed after two reviews; an own one also signed by the own key.

    Whether the listing is valid at some time is left to the caller: see :func:`in_force`.
    """
    try:
        review = members(verify(listing, "listing", trust.registrar).payload, _LISTING)
        signed = parse(product)
        manifest = members(signed.payload, _MANIFEST)
    except DataspaceSdkError as error:
        raise ListingInvalidError(f"a product's papers do not hold: {error}") from error
    if signed.typ != "pds-product+jws" or digest("product", signed.payload_bytes) != review["product_digest"]:
        raise ListingInvalidError("the registrar's listing is of another product")
    if any(manifest[name] != review[name] for name in ("product_id", "version", "operator_id")):
        raise ListingInvalidError("listing and product disagree about its name")
    reviewers = {item for item in review["reviewers"] if isinstance(item, str)}
    if len(reviewers) < 2:
        raise ListingInvalidError("a product is listed after two reviews")
    own = manifest["operator_id"] == identity.operator_id
    if own:
        _require_own_signature(product, identity)
    return Product(
        digest=review["product_digest"],
        manifest=manifest,
        reviewers=tuple(sorted(reviewers)),
        listed_until=review["not_after"],
        signature_verified=own,
    )


def in_force(listing: str, now: int) -> bool:
    """Whether a listing, verified before, is valid at ``now``."""
    payload = parse(listing).payload
    return bool(payload["not_before"] <= now < payload["not_after"])


def _require_own_signature(product: str, identity: OperatorIdentity) -> None:
    try:
        verify(product, "product", identity.key().public)
    except DataspaceSdkError as error:
        raise ListingInvalidError("a product in this operator's name is not signed with its key") from error
