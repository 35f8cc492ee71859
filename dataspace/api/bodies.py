"""Bodies of requests. Unknown fields are refused; every signed object is checked further in the flows."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from dataspace.kernel.signed import Count, Id, Word

Jws = Annotated[str, StringConstraints(min_length=20, max_length=1 << 20, pattern=r"^[A-Za-z0-9_.-]+$")]
Sealed = Annotated[str, StringConstraints(min_length=20, max_length=4096, pattern=r"^[A-Za-z0-9_-]+$")]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Wrap(Body):
    collection: Word
    epoch: Count
    wrap: Sealed


class Wraps(Body):
    """The client's keys, each sealed under the vault key; and the vault key, sealed to the recovery words."""

    signing_key: Sealed
    epochs: Annotated[list[Wrap], Field(max_length=1000)]
    recovery: Sealed


class TokenBody(Body):
    assertion: Jws


class RegistrationBody(Body):
    assertion: Jws
    statement: Jws
    wraps: Wraps
    space: Word


class LinksBody(Body):
    links: Annotated[list[Jws], Field(min_length=1, max_length=50)]


class GrantBody(Body):
    grant: Jws
    sealed: Annotated[list[Sealed], Field(min_length=1, max_length=512)]


class RefusalBody(Body):
    refusal: Jws


class WithdrawalBody(Body):
    withdrawal: Jws
    key_statement: Jws | None = None
    wraps: Wraps | None = None


class HandleBody(Body):
    operator_id: Id


class DeliveryBody(Body):
    delivery: Jws
    items: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=5000)]


class RegisterBody(Body):
    objects: Annotated[list[Jws], Field(min_length=1, max_length=200)]


class ProductBody(Body):
    product: Jws
    listing: Jws


class RequestBody(Body):
    request: Jws


class EmptyBody(Body):
    """``{}``: an act without parameters."""
