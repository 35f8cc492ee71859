"""Schemathesis makes up requests from the OpenAPI document: no 5xx, and every response is one that is declared.

The same seed each time, a few examples an operation, in this process; each operation is called by its rightful caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from dataspace.app import create_app
from dataspace.identity.access import Role
from dataspace.settings import Settings
from tests.api.callers import Callers, changed

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    negative_data_rejection,
    unsupported_method,
]
BOUNDED = settings(
    max_examples=20,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
OWNERS: tuple[Role, ...] = ("resident", "source", "operator")


def document() -> dict[str, Any]:
    """The app's own, without its security: who may call is the matter of test_routes_and_roles."""
    openapi = create_app(Settings()).openapi()
    del openapi["components"]["securitySchemes"]
    for path in openapi["paths"].values():
        for operation in path.values():
            operation.pop("security", None)
    return openapi


schema = schemathesis.openapi.from_dict(document())


@pytest.fixture(scope="module")
def tokens(callers: Callers) -> Iterator[dict[str, str]]:
    """A token for each role; whatever schemathesis sends, nothing of it is stored."""
    before = callers.state()
    yield {role: callers.token(role) for role in OWNERS}
    assert changed(before, callers.state()) <= {"handles"}


@schema.parametrize()
@BOUNDED
def test_every_operation(callers: Callers, tokens: dict[str, str], case: Case[Any]) -> None:
    prepared = requests.Request(**case.as_transport_kwargs(base_url="http://service")).prepare()
    headers = {str(name).encode("latin-1"): str(value).encode("latin-1") for name, value in prepared.headers.items()}
    (owner,) = case.operation.tags
    if owner in OWNERS:
        headers[b"authorization"] = f"Bearer {tokens[owner]}".encode()
    body = prepared.body
    assert body is None or isinstance(body, str | bytes)
    answer = callers.http.request(str(prepared.method), str(prepared.url), headers=headers, content=body)
    answer.elapsed = timedelta()  # the transport in this process does not measure it
    case.validate_response(answer, checks=CHECKS)
