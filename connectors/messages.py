"""What services, nodes and broker send each other: strict shapes, refused otherwise. Bytes are base64url."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from dataspace.kernel.signed import Digest, Id


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProductPapers(Message):
    """The signed objects that make a product usable: verified up to the pinned registrar each time."""

    licence: str
    product: str
    listing: str


class KeyOrder(Message):
    """Ask for ``count`` fresh grant keys for one request."""

    papers: ProductPapers
    request: str
    count: int = Field(ge=1, le=5000)


class GrantPapers(Message):
    """A signed grant and the sealed keys beside it."""

    grant: str
    sealed: list[str] = Field(max_length=512)


class GrantRegistration(Message):
    """A grant that has become part of the log."""

    papers: GrantPapers
    statements: list[str] = Field(min_length=1, max_length=1000)
    entry: dict[str, Any]


class GrantRegistrations(Message):
    checkpoint: str
    products: dict[Digest, ProductPapers]
    requests: dict[Digest, str]
    grants: list[GrantRegistration] = Field(min_length=1, max_length=2000)


class Withdrawals(Message):
    withdrawals: list[str] = Field(min_length=1, max_length=2000)


class RecordRef(Message):
    """A record to be opened: where it stands, and its sealed slot (needed for ongoing grants)."""

    record_id: Id
    slot_id: Id
    collection: str
    source_id: Id
    slot: str


class GrantUse(Message):
    papers: GrantPapers
    entry: dict[str, Any]
    records: list[RecordRef] = Field(max_length=5000)


class Opening(Message):
    """One run's whole case: every claim in it is checked against signatures, the log and the broker's own store."""

    run_id: Id
    papers: ProductPapers
    request: str
    evidence: str
    checkpoint: str
    decision: dict[str, Any]
    grants: list[GrantUse] = Field(min_length=1, max_length=100_000)


class ReleaseOrder(Message):
    request_digest: Digest
    result_digest: Digest
    node: Digest


class SealedRecordRef(RecordRef):
    """A record for a node: its place and its sealed bytes."""

    sealed: str

    def reference(self) -> dict[str, str]:
        """Its place alone: all that the broker needs."""
        return self.model_dump(exclude={"sealed"})


class GrantCase(Message):
    papers: GrantPapers
    entry: dict[str, Any]
    records: list[SealedRecordRef] = Field(max_length=5000)


class Job(Message):
    """One run's whole case for a node: what it passes on to the broker, and the sealed records."""

    run_id: Id
    papers: ProductPapers
    request: str
    checkpoint: str
    decision: dict[str, Any]
    sources: list[str]
    grants: list[GrantCase] = Field(min_length=1, max_length=100_000)
