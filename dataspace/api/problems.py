"""One handler for every refusal: RFC 9457 problem+json with a stable code. Bodies and values are never echoed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.http import problem

_log = structlog.get_logger(__name__)


class BodyTooLargeError(DataspaceError):
    """The body is larger than this service takes."""

    code = "body_too_large"
    status = 413


class MediaTypeError(DataspaceError):
    """The body is not JSON."""

    code = "media_type"
    status = 415


class InvalidBodyError(DataspaceError):
    """The body, or a parameter, does not have the shape of this route."""

    code = "invalid_body"
    status = 422


_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: BodyTooLargeError.code}

RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "Refused: RFC 9457 problem details with a stable code.",
        "content": {
            "application/problem+json": {
                "schema": {
                    "type": "object",
                    "required": ["type", "code", "detail"],
                    "properties": {
                        "type": {"type": "string", "pattern": "^urn:pds:problem:[a-z0-9_]+$"},
                        "code": {"type": "string", "pattern": "^[a-z0-9_]+$"},
                        "detail": {"type": "string"},
                    },
                }
            }
        },
    }
}
"""What every route may answer instead of its own form."""


def install(app: FastAPI) -> None:
    """Register the handlers on ``app``."""

    @app.exception_handler(DataspaceError)
    def refused(_request: Request, error: DataspaceError) -> JSONResponse:
        return _answer(error)

    @app.exception_handler(RequestValidationError)
    def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return _answer(InvalidBodyError(_where(error)))

    @app.exception_handler(ValidationError)
    def invalid_inside(_request: Request, error: ValidationError) -> JSONResponse:
        return _answer(InvalidBodyError(_where(error)))

    @app.exception_handler(HTTPException)
    def http(_request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400:  # raised by FastAPI alone, for a body that it cannot read
            return _answer(InvalidBodyError("body: not a JSON document that can be read"))
        refusal = DataspaceError(str(error.detail), code=_HTTP_CODES.get(error.status_code, "http_error"))
        refusal.status = error.status_code
        answer = _answer(refusal)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(IntegrityError)
    def raced(_request: Request, _error: IntegrityError) -> JSONResponse:
        refusal = DataspaceError("the same thing was stored at this very moment: ask again", code="conflict")
        refusal.status = 409
        return _answer(refusal)

    @app.exception_handler(Exception)
    def broken(request: Request, error: Exception) -> JSONResponse:
        _log.error("unhandled", path=request.url.path, error=type(error).__name__)
        refusal = DataspaceError("an internal error; nothing was released", code="internal_error")
        refusal.status = 500
        return _answer(refusal)


def _answer(error: DataspaceError) -> JSONResponse:
    return JSONResponse(problem(error), status_code=error.status, media_type="application/problem+json")


def _where(error: RequestValidationError | ValidationError) -> str:
    """Where the body is wrong and how, without the offending values."""
    return "; ".join(_place(item["type"], item["loc"], item["msg"]) for item in error.errors()[:5])


def _place(kind: str, where: Sequence[int | str], message: str) -> str:
    """The name of an unknown field is the sender's own text, so it is not repeated."""
    if kind == "extra_forbidden":
        where, message = where[:-1], "has a field that is not known here"
    return f"{'.'.join(str(part) for part in where) or 'object'}: {message}"


class BodyGuard:
    """Refuses bodies that are too large or not JSON before anything parses them."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in {"POST", "PUT", "PATCH"}:
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        try:
            declared = int(headers.get(b"content-length", b"0"))
        except ValueError:
            declared = self.max_bytes + 1
        media = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        nothing = not media and not declared and b"transfer-encoding" not in headers
        if media != b"application/json" and not nothing:
            await _answer(MediaTypeError("send application/json"))(scope, receive, send)
            return
        if declared > self.max_bytes:
            await _answer(BodyTooLargeError(f"at most {self.max_bytes} bytes"))(scope, receive, send)
            return
        await self.app(scope, self._counted(receive), send)

    def _counted(self, receive: Receive) -> Receive:
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_bytes:
                raise HTTPException(413, f"at most {self.max_bytes} bytes")  # FastAPI passes on no other exception
            return message

        return counted
