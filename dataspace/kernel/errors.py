"""The root of every refusal: a stable code that programs can rely on, and a sentence that people can act on."""

from __future__ import annotations


class DataspaceError(Exception):
    """A refusal with a stable ``code``; the API answers it as RFC 9457 problem+json with ``status``."""

    code = "error"
    status = 400

    def __init__(self, detail: str = "", *, code: str | None = None, **extra: object) -> None:
        super().__init__(detail or code or self.code)
        self.detail = detail
        if code is not None:
            self.code = code
        self.extra = extra


class MalformedError(DataspaceError):
    """The bytes are not what the format asks for."""

    code = "malformed"


class NotCanonicalError(MalformedError):
    """Parsed, but not the one encoding that is allowed (RFC 8785)."""

    code = "not_canonical"


class UnknownFormatError(MalformedError):
    """A version or suite that this build does not know: refused, never guessed."""

    code = "unknown_format"


class SignatureInvalidError(DataspaceError):
    """The signature, its type or its key is not the expected one."""

    code = "signature_invalid"
