"""Typed contents of signed objects: strict in, frozen after, and back to the same canonical bytes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from dataspace.kernel.encoding import canonical, digest, unb64
from dataspace.kernel.errors import MalformedError
from dataspace.kernel.jws import Signed, SigningKey, parse, verify

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]
Seconds = Annotated[int, Field(ge=0, lt=2**53)]
Count = Annotated[int, Field(ge=1, lt=2**31)]


class Part(BaseModel):
    """Any part of a signed object: unknown members, missing members and other types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Text(Part):
    """The same sentence in both languages."""

    zh: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    en: Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class SignedContent(Part):
    """Base of every signed content; a subclass sets ``typ``, the one use its signature is for."""

    typ: ClassVar[str]
    v: Literal[1] = 1
    suite: Literal[1] = 1

    def payload(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    def digest(self) -> str:
        """Name of this content wherever another object points to it."""
        return digest(self.typ, canonical(self.payload()))

    def sign(self, key: SigningKey) -> str:
        return key.sign(self.typ, self.payload())

    @classmethod
    def claimed(cls, token: str) -> Self:
        """What ``token`` says, unverified: only to find the key it has to be verified with."""
        return cls.read(parse(token))

    @classmethod
    def verify(cls, token: str, public_key: bytes) -> Self:
        """The content of ``token``, signed for this use by ``public_key``."""
        return cls.read(verify(token, cls.typ, public_key))

    @classmethod
    def read(cls, signed: Signed) -> Self:
        """The content of a JWS taken apart; its signature is the caller's matter."""
        if signed.typ != f"pds-{cls.typ}+jws":
            raise MalformedError(f"not a {cls.typ}")
        try:
            return cls.model_validate_json(signed.payload_bytes)
        except ValidationError as error:
            raise MalformedError(f"{cls.typ}: {problems(error)}") from error


_C = TypeVar("_C", bound=SignedContent)


class Verified(Generic[_C]):
    """A verified object with its name and the exact bytes it was signed as. Made only by :func:`verified`."""

    __slots__ = ("content", "digest", "token")

    def __init__(self, content: _C, token: str, digest: str) -> None:
        self.content = content
        self.token = token
        self.digest = digest


def verified(kind: type[_C], token: str, public_key: bytes) -> Verified[_C]:
    """Verify and keep the exact signed bytes beside the content."""
    signed = verify(token, kind.typ, public_key)
    return Verified(kind.read(signed), token, digest(kind.typ, signed.payload_bytes))


def problems(error: ValidationError) -> str:
    """What is wrong and where, without the offending values."""
    found = [f"{'.'.join(str(part) for part in item['loc']) or 'object'}: {item['msg']}" for item in error.errors()]
    return "; ".join(found[:5])


def key_bytes(text: str, size: int = 32) -> bytes:
    """A public key written in a signed object."""
    return unb64(text, size=size)
