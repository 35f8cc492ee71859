"""What goes in and comes out of the SDK: products, asks, and the three outcomes of an ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from dataspace_sdk.encoding import Json, b64, digest, members, unb64
from dataspace_sdk.errors import AskInvalidError, DataspaceSdkError
from dataspace_sdk.hpke import SEED_BYTES, ResultKey
from dataspace_sdk.jws import Signed, parse

_REQUEST: Mapping[str, type] = {
    "request_id": str,
    "operator_id": str,
    "product_digest": str,
    "purpose": str,
    "parameters": dict,
    "subject": dict,
    "result_key": str,
    "nonce": str,
    "issued_at": int,
    "not_after": int,
}


@dataclass(frozen=True)
class Product:
    """A listed data product. Its content is what the registrar's reviewers signed off: the listing covers its digest.

    ``signature_verified`` says whether the operator's own signature on the manifest was checked too. That is so for
    own products only: the SDK does not get the keys of other operators.
    """

    digest: str
    manifest: Mapping[str, Json]
    reviewers: tuple[str, ...]
    listed_until: int
    signature_verified: bool

    @property
    def product_id(self) -> str:
        return str(self.manifest["product_id"])

    @property
    def version(self) -> int:
        return int(self.manifest["version"])

    @property
    def operator_id(self) -> str:
        return str(self.manifest["operator_id"])

    @property
    def kind(self) -> str:
        """``individual`` or ``cohort``."""
        return str(self.manifest["kind"])

    @property
    def name(self) -> Mapping[str, str]:
        """``{"zh", "en"}``."""
        return dict(self.manifest["name"])


@dataclass(frozen=True)
class Ask:
    """A signed question with the secret seed that opens its answer. Keep it: without the seed nobody opens the answer.

    :meth:`to_json` holds the seed too; store it like a private key, and drop it once the answer is read.
    """

    request: str
    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        try:
            payload = members(self._signed.payload, _REQUEST)
            members(payload["subject"], {"kind": str, "handle": (str, type(None))})
            fits = len(self.seed) == SEED_BYTES and ResultKey(self.seed).public == unb64(payload["result_key"])
        except DataspaceSdkError as error:
            raise AskInvalidError("not a stored ask") from error
        if not fits:
            raise AskInvalidError("the seed is not that of the request's result key")

    @cached_property
    def _signed(self) -> Signed:
        return parse(self.request)

    @property
    def request_digest(self) -> str:
        return digest("use-request", self._signed.payload_bytes)

    @property
    def product_digest(self) -> str:
        return str(self._signed.payload["product_digest"])

    @property
    def operator_id(self) -> str:
        return str(self._signed.payload["operator_id"])

    @property
    def kind(self) -> str:
        """``individual`` or ``cohort``."""
        return str(self._signed.payload["subject"]["kind"])

    def to_json(self) -> dict[str, Json]:
        """Everything, the secret seed included."""
        return {"v": 1, "request": self.request, "seed": b64(self.seed)}

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Ask:
        try:
            found = members(value, {"request": str, "seed": str})
            seed = unb64(found["seed"])
        except (DataspaceSdkError, AttributeError) as error:
            raise AskInvalidError("not a stored ask") from error
        if value.get("v") != 1 or "suite" in value:
            raise AskInvalidError("an ask stored by another version")
        return cls(found["request"], seed)


@dataclass(frozen=True)
class IndividualAnswer:
    """Dates are "YYYY-MM-DD" in the district's civil time; ``covers`` is from and to, as dates or months."""

    answer: str
    reason: str
    as_of: str
    covers: Mapping[str, str]
    sources: tuple[str, ...]
    valid_until: str


@dataclass(frozen=True)
class Table:
    """A cohort's table. ``cells`` holds one row for each declared combination; a suppressed one holds None.

    ``units`` gives each measure's unit; a cell's ``steps`` say to which step its measures were rounded.
    """

    by: tuple[str, ...]
    count: str
    units: Mapping[str, str]
    k: int
    cells: Sequence[Mapping[str, Json]]

    @property
    def columns(self) -> tuple[str, ...]:
        """Group columns, the count, the measures."""
        return (*self.by, self.count, *self.units)


@dataclass(frozen=True)
class Evidence:
    """What was verified about an answer; nothing here is taken on the service's word.

    Times are seconds since 1970, ``released_at`` the beginning of its hour. ``decision`` and ``release_entry`` are
    leaf hashes of the log, ``decision_entry`` is the body of the first.
    """

    request_digest: str
    product_digest: str
    run_id: str
    node_class: str
    isolation: str
    node: str
    grant_set: str
    policy_digest: str
    attested_at: int
    released_at: int
    result_digest: str
    release: Mapping[str, Json]
    decision: str
    decision_entry: Mapping[str, Json]
    release_entry: str
    log_origin: str
    log_size: int
    log_root: str
    witnesses: tuple[str, ...]


@dataclass(frozen=True)
class Answered:
    """A verified answer: ``answer`` (individual product) or ``table`` (cohort product), and its evidence.

    ``raw`` is what the service sent; with the ask, :func:`dataspace_sdk.verify_answer` verifies it again, offline.
    """

    answer: IndividualAnswer | None
    table: Table | None
    evidence: Evidence
    raw: Mapping[str, Json] = field(repr=False)


@dataclass(frozen=True)
class Reason:
    """Why not: a stable code and a sentence for people. The service's word, not signed."""

    code: str
    zh: str
    en: str


@dataclass(frozen=True)
class Denied:
    """The decision was not to allow, or the run did not end; the service may be asked again."""

    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Pending:
    """Nobody has granted yet. It says nothing about whether the resident, the data or a refusal exists."""
