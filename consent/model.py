"""The signed objects of consent: product, use request, grant, refusal, withdrawal, and the broker's statements."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from dataspace.kernel.encoding import canonical, digest
from dataspace.kernel.signed import Count, Digest, Id, Part, Seconds, SignedContent, Text, Word

NodeClass = Literal["sw-dev", "tpm", "csv", "snp", "tdx", "sgx", "cca"]
Mode = Literal["one_time", "ongoing"]
MAX_GRANT_DAYS = 366
DAY = 86_400


class Window(Part):
    """Only the last ``months`` complete calendar months, by the record's ``field`` (written "YYYY-MM")."""

    field: Word
    months: Annotated[int, Field(ge=1, le=60)]


class Input(Part):
    """What a product reads of one collection: these fields and no others."""

    collection: Word
    schema_id: Annotated[str, StringConstraints(pattern=r"^[a-z_]+/[0-9]+$")]
    fields: Annotated[tuple[Word, ...], Field(min_length=1)]
    window: Window | None


class Computation(Part):
    """One CEL expression or one SELECT, with the parameters it is fixed to."""

    language: Literal["cel", "sql"]
    text: Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
    parameters: dict[Word, int | str]


class GrantTerms(Part):
    """What the product asks a resident for: once within ``days``, or ``uses`` times within them."""

    mode: Mode
    days: Annotated[int, Field(ge=1, le=MAX_GRANT_DAYS)]
    uses: Count


class Cohort(Part):
    """A reviewed rule, never a list: everybody of one space who holds these collections."""

    space: Word
    collections: tuple[Word, ...]


class Product(SignedContent):
    """A data product's manifest: the thing a resident agrees to, the policy sees and the evidence covers."""

    typ: ClassVar[str] = "product"
    product_id: Id
    version: Count
    operator_id: Id
    kind: Literal["individual", "cohort"]
    name: Text
    sentence: Text
    purpose: Word
    inputs: Annotated[tuple[Input, ...], Field(min_length=1)]
    computation: Computation
    output: dict[str, Any]
    grant: GrantTerms
    least_node_class: NodeClass
    cohort: Cohort | None


class Subject(Part):
    """Whom a request concerns: a cohort by its product's rule, or one resident by a one-time handle."""

    kind: Literal["individual", "cohort"]
    handle: Id | None


class UseRequest(SignedContent):
    """An operator asks to run a product; nothing in it can be changed by anyone on the way."""

    typ: ClassVar[str] = "use-request"
    request_id: Id
    operator_id: Id
    product_digest: Digest
    purpose: Word
    parameters: dict[Word, int | str]
    subject: Subject
    result_key: str
    nonce: Id
    issued_at: Seconds
    not_after: Seconds


class Scope(Part):
    """What a grant opens: fields of one collection, by slots (one-time) or by the epoch (ongoing)."""

    collection: Word
    fields: Annotated[tuple[Word, ...], Field(min_length=1)]
    epoch: Count
    epoch_key: Digest
    slots: tuple[Id, ...]


class Notice(Part):
    """Evidence of what was on the screen (GB/T 42574): digest of its text, its language, the answer shown before."""

    digest: Digest
    language: Literal["zh", "en"]
    answer_shown: bool


class GrantTermsSigned(Part):
    """The grant itself. Its digest is bound into every sealed key, so keys and terms cannot be parted."""

    grant_id: Id
    subject: Digest
    recipient: Id
    product_digest: Digest
    request_digest: Digest
    purpose: Word
    mode: Mode
    scope: Annotated[tuple[Scope, ...], Field(min_length=1)]
    not_before: Seconds
    not_after: Seconds
    uses: Count
    least_node_class: NodeClass
    broker_key: Id
    separate_consent: tuple[Word, ...]
    notice: Notice
    issued_at: Seconds

    def digest(self) -> str:
        return digest("grant", canonical(self.model_dump(mode="json")))


class SealedKeyName(Part):
    """Which key is sealed, and the digest of the sealed bytes that travel beside the grant."""

    collection: Word
    epoch_key: Digest
    kind: Literal["slot", "epoch"]
    slot: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{0,64}$")]
    digest: Digest


class Grant(SignedContent):
    """Signed by the resident over the terms and over the digests of the sealed keys (HPKE authenticates no sender)."""

    typ: ClassVar[str] = "grant"
    grant: GrantTermsSigned
    sealed: Annotated[tuple[SealedKeyName, ...], Field(min_length=1)]


class Refusal(SignedContent):
    typ: ClassVar[str] = "refusal"
    request_digest: Digest
    subject: Digest
    issued_at: Seconds
    nonce: Id


class Withdrawal(SignedContent):
    """Ends a grant; for an ongoing one it names the key statement that starts the next epochs in the same act."""

    typ: ClassVar[str] = "withdrawal"
    grant_digest: Digest
    subject: Digest
    key_statement: Digest | None
    issued_at: Seconds


class GrantKey(SignedContent):
    """The broker's fresh key for one request shown to one resident."""

    typ: ClassVar[str] = "grant-key"
    broker_id: Id
    key_id: Id
    key: str
    request_digest: Digest
    not_after: Seconds


class GrantState(SignedContent):
    """The broker's word about a grant; ``destroyed`` says that its key no longer exists in the live store."""

    typ: ClassVar[str] = "grant-state"
    grant_digest: Digest
    state: Literal["active", "destroyed"]
    at: Seconds


class SubjectHead(SignedContent):
    """The newest log entry about a resident that the broker has acted on: a service cannot hide a later one."""

    typ: ClassVar[str] = "subject-head"
    subject: Digest
    number: Annotated[int, Field(ge=0)]
    entry: Digest | None
    at: Seconds


def grant_set(digests: list[str]) -> str:
    """One name for a set of grants, whatever their order."""
    return digest("grant-set", *sorted(digests))


def sealed_key_digest(sealed: bytes) -> str:
    return digest("sealed-key", sealed)
