"""The protocol without I/O: each operation is a generator that yields calls and pauses and is sent the replies.

``client`` drives the same generators with a blocking and with an asynchronous HTTP client: nothing is written twice.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from dataspace_sdk.encoding import Json, b64, random_id
from dataspace_sdk.errors import (
    AskInvalidError,
    DataspaceSdkError,
    ListingInvalidError,
    ProductNotOwnError,
    RefusedError,
    UnavailableError,
)
from dataspace_sdk.hpke import SEED_BYTES, ResultKey
from dataspace_sdk.jws import verify
from dataspace_sdk.model import Answered, Ask, Denied, Pending, Product, Reason
from dataspace_sdk.products import in_force, product_digest, verify_listed
from dataspace_sdk.trust import OperatorIdentity, Trust
from dataspace_sdk.verify import verify_answer

DAY = 86_400
ASSERTION_SECONDS = 60
RENEW_BEFORE = 30
"""Seconds before its end at which a token is no longer used."""


@dataclass(frozen=True)
class Call:
    """One HTTP exchange: JSON ``body`` (None: no body), bearer ``token``."""

    method: str
    path: str
    body: Mapping[str, Json] | None = None
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Pause:
    """Wait for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Reply:
    """Status and body of a response; status 0 after a :class:`Pause`."""

    status: int
    body: bytes = b""


T = TypeVar("T")
Steps = Generator[Call | Pause, Reply, T]
"""Drive with ``send(reply)``; a transport that fails throws :class:`UnavailableError` in."""


class Core:
    """Identity, pins and the current token; ``clock`` gives whole seconds since 1970."""

    def __init__(self, identity: OperatorIdentity, trust: Trust, clock: Callable[[], int]) -> None:
        self.identity = identity
        self.trust = trust
        self._clock = clock
        self._key = identity.key()
        self._token = ""
        self._token_until = 0

    def products(self) -> Steps[list[Product]]:
        listed = (yield from self._authorised("GET", "/v1/products")).get("products")
        if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
            raise UnavailableError("the list of products is not in the agreed form")
        now = self._clock()
        found = []
        for item in listed:
            product = verify_listed(item.get("product", ""), item.get("listing", ""), self.trust, self.identity)
            if item.get("product_digest") != product.digest:
                raise ListingInvalidError("the service names a product by another digest")
            if in_force(item["listing"], now):
                found.append(product)
        return found

    def sign_product(self, payload: Mapping[str, Json]) -> str:
        if payload.get("operator_id") != self.identity.operator_id:
            raise ProductNotOwnError("the manifest names another operator")
        return self._key.sign("product", dict(payload))

    def publish(self, payload: Mapping[str, Json], listing: str) -> Steps[Product]:
        signed = self.sign_product(payload)
        product = verify_listed(signed, listing, self.trust, self.identity)
        answer = yield from self._authorised("POST", "/v1/products", {"product": signed, "listing": listing})
        if answer.get("product_digest") != product_digest(payload):
            raise UnavailableError("the service names the product by another digest")
        return product

    def new_ask(self, product: Product, handle: str | None, days: int) -> Ask:
        """A signed question that has not been sent. Randomness and time enter here."""
        if product.operator_id != self.identity.operator_id or not product.signature_verified:
            raise ProductNotOwnError("ask with a product of this operator, as products() or publish() returned it")
        if (product.kind == "individual") != (handle is not None):
            raise AskInvalidError(
                "an individual product needs the resident's one-time handle, a cohort product has none"
            )
        if days < 1:
            raise AskInvalidError("a request is open for at least one day")
        seed, now = secrets.token_bytes(SEED_BYTES), self._clock()
        request = {
            "request_id": random_id(),
            "operator_id": self.identity.operator_id,
            "product_digest": product.digest,
            "purpose": product.manifest["purpose"],
            "parameters": product.manifest["computation"]["parameters"],
            "subject": {"kind": product.kind, "handle": handle},
            "result_key": b64(ResultKey(seed).public),
            "nonce": random_id(),
            "issued_at": now,
            "not_after": now + days * DAY,
        }
        return Ask(self._key.sign("use-request", request), seed)

    def send(self, ask: Ask) -> Steps[Ask]:
        self._require_own(ask)
        answer = yield from self._authorised("POST", "/v1/requests", {"request": ask.request})
        if answer.get("request_digest") != ask.request_digest:
            raise UnavailableError("the service names the request by another digest")
        return ask

    def ask(self, product: Product, handle: str | None, days: int) -> Steps[Ask]:
        return (yield from self.send(self.new_ask(product, handle, days)))

    def answer(self, ask: Ask) -> Steps[Answered | Denied | Pending]:
        self._require_own(ask)
        found = yield from self._authorised("POST", f"/v1/requests/{ask.request_digest}/answer", {})
        if found.get("status") == "asked":
            return Pending()
        if found.get("status") == "denied":
            return Denied(_reasons(found.get("reasons")))
        if found.get("status") == "answered" and isinstance(found.get("answer"), dict):
            return verify_answer(found["answer"], ask, self.trust, self._clock())
        raise UnavailableError("the answer is not in the agreed form")

    def wait(self, ask: Ask, timeout_s: float, poll_s: float) -> Steps[Answered | Denied | Pending]:
        """Ask again until there is an answer or the time is over; an unavailable service is asked again, too."""
        started, paused = self._clock(), 0.0
        while True:
            unavailable: UnavailableError | None = None
            outcome: Answered | Denied | Pending = Pending()
            try:
                outcome = yield from self.answer(ask)
            except UnavailableError as error:
                unavailable = error
            left = timeout_s - max(paused, self._clock() - started)
            if not isinstance(outcome, Pending) or left <= 0:
                if unavailable is not None:
                    raise unavailable
                return outcome
            pause = min(max(poll_s, 0.01), left)
            paused += pause
            yield Pause(pause)

    def _require_own(self, ask: Ask) -> None:
        try:
            verify(ask.request, "use-request", self._key.public)
        except DataspaceSdkError as error:
            raise AskInvalidError("the ask was not made with this operator's key") from error
        if ask.operator_id != self.identity.operator_id:
            raise AskInvalidError("the ask is of another operator")

    def _authorised(self, method: str, path: str, body: Mapping[str, Json] | None = None) -> Steps[dict[str, Json]]:
        """One call with a token: renewed when it is about to end, and once when the service no longer takes it."""
        if self._clock() >= self._token_until:
            yield from self._renew()
        reply = yield Call(method, path, body, self._token)
        if reply.status == 401:
            yield from self._renew()
            reply = yield Call(method, path, body, self._token)
        return _content(reply)

    def _renew(self) -> Steps[None]:
        now = self._clock()
        assertion = {
            "aud": self.trust.audience,
            "role": "operator",
            "sub": self.identity.operator_id,
            "jti": random_id(),
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
        }
        found = _content((yield Call("POST", "/v1/token", {"assertion": self._key.sign("assertion", assertion)})))
        if not isinstance(found.get("token"), str) or type(found.get("expires_in")) is not int:
            raise UnavailableError("the token is not in the agreed form")
        self._token = found["token"]
        self._token_until = now + found["expires_in"] - RENEW_BEFORE


def _content(reply: Reply) -> dict[str, Json]:
    """The JSON object of a reply with 2xx; otherwise the problem (RFC 9457) as an exception."""
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        found = None
    answer = found if isinstance(found, dict) else {}
    if 200 <= reply.status < 300 and isinstance(found, dict):
        return answer
    kind = RefusedError if 400 <= reply.status < 500 and reply.status != 429 else UnavailableError
    code = answer.get("code")
    detail = f"{reply.status} {answer.get('detail') or code or 'no answer in the agreed form'}"
    raise kind(detail, code=code if isinstance(code, str) else None, status=reply.status)


def _reasons(found: Json) -> tuple[Reason, ...]:
    items = found if isinstance(found, list) else []
    named = [item for item in items if isinstance(item, dict) and isinstance(item.get("code"), str)]
    return tuple(Reason(item["code"], str(item.get("zh", "")), str(item.get("en", ""))) for item in named)
