"""Calls between our programs: JSON in, JSON out, a refusal as the exception that it was on the other side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from dataspace.kernel.errors import DataspaceError

RUN_SECONDS = 120.0
"""How long a caller waits for a whole run."""


class UnreachableError(DataspaceError):
    """The other program did not answer, or not in the agreed form. Nothing may be assumed about what it did."""

    code = "unreachable"
    status = 503


class RefusedError(DataspaceError):
    """The other program refused; ``code`` is its reason."""

    code = "refused"
    status = 403


def call(
    client: httpx.Client, method: str, path: str, body: object | None = None, *, token: str | None = None
) -> dict[str, Any]:
    """The JSON object of a 2xx answer; raises :class:`RefusedError` with its code, or :class:`UnreachableError`."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        if body is None:
            response = client.request(method, path, headers=headers)
        else:
            response = client.request(method, path, json=body, headers=headers)
        answer = response.json()
    except (httpx.HTTPError, ValueError) as error:
        raise UnreachableError("no answer from the other program") from error
    if not isinstance(answer, dict):
        raise UnreachableError("no answer in the agreed form")
    if response.is_success:
        return answer
    refused = RefusedError(str(answer.get("detail", "")), code=str(answer.get("code", "refused")))
    refused.status = response.status_code
    raise refused


def problem(error: DataspaceError) -> dict[str, Any]:
    """RFC 9457 problem details: a stable code, a plain sentence, nothing of anybody's data."""
    return {"type": f"urn:pds:problem:{error.code}", "code": error.code, "detail": error.detail, **error.extra}


def socket_client(folder: Path, name: str, seconds: float) -> httpx.Client:
    """HTTP to another program of this host, over its Unix socket ``<name>.sock`` in ``folder``."""
    transport = httpx.HTTPTransport(uds=str(folder / f"{name}.sock"), retries=1)
    return httpx.Client(transport=transport, base_url=f"http://{name}", timeout=seconds)
