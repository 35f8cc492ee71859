"""The district's register: what an offline registrar has signed about sources, operators, products and node anchors.

Broker, node, client, source and SDK pin the registrar's public key; a key that is not signed up to it is refused.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.signed import Count, Digest, Id, Seconds, SignedContent, Text, Verified, Word, verified


class NotRegisteredError(DataspaceError):
    """Not signed up to the register, or no longer."""

    code = "not_registered"


class _Dated(SignedContent):
    not_before: Seconds
    not_after: Seconds

    def valid_at(self, now: int) -> bool:
        return self.not_before <= now < self.not_after


class Source(_Dated):
    """An authority that may deliver records of the named collections."""

    typ: ClassVar[str] = "source"
    source_id: Id
    name: Text
    key: str
    collections: tuple[Word, ...]


class Licence(_Dated):
    """Who may ask, for which purposes and collections, until when (REQUIREMENTS OP-02)."""

    typ: ClassVar[str] = "licence"
    licence_id: Id
    number: str
    operator_id: Id
    name: Text
    key: str
    purposes: tuple[Word, ...]
    collections: tuple[Word, ...]


class Listing(_Dated):
    """The review of one version of one product, by at least two reviewers."""

    typ: ClassVar[str] = "listing"
    product_digest: Digest
    product_id: Id
    version: Count
    operator_id: Id
    reviewers: tuple[Id, ...]


class Anchor(_Dated):
    """A key that vouches for nodes of one kind of evidence."""

    typ: ClassVar[str] = "anchor"
    kind: Literal["sw-dev"]
    name: Id
    key: str


def registered_source(token: str, registrar: bytes, now: int) -> Verified[Source]:
    """The source that ``token`` registers, valid at ``now``."""
    source = verified(Source, token, registrar)
    if not source.content.valid_at(now):
        raise NotRegisteredError("the source's registration is not valid at this time")
    return source


def reviewed(token: str, registrar: bytes) -> Verified[Listing]:
    """A listing by at least two different reviewers."""
    listing = verified(Listing, token, registrar)
    if len(set(listing.content.reviewers)) < 2:
        raise NotRegisteredError("a product is listed after two reviews")
    return listing
