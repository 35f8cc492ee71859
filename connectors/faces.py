"""What the HTTP faces of broker, node and source share: every refusal is problem+json, and nothing sent is echoed."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from dataspace.kernel.errors import DataspaceError, MalformedError
from dataspace.kernel.http import problem


def install_problems(app: FastAPI) -> None:
    """RFC 9457 answers with stable codes for refusals and for messages of another shape."""

    @app.exception_handler(DataspaceError)
    def refused(_request: Request, error: DataspaceError) -> JSONResponse:
        return _answer(error)

    @app.exception_handler(RequestValidationError)
    def misshapen(_request: Request, _error: RequestValidationError) -> JSONResponse:
        return _answer(MalformedError("the message does not have the shape of this route", code="invalid_message"))


def _answer(error: DataspaceError) -> JSONResponse:
    return JSONResponse(problem(error), status_code=error.status, media_type="application/problem+json")
