"""The committed OpenAPI document is the app's own, and tells the truth about refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dataspace.app import create_app
from dataspace.cli import app as cli
from dataspace.settings import Settings

GOLDEN = Path(__file__).parents[2] / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings()).openapi()


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in document["paths"].values() for operation in path.values()]


def test_the_committed_document_is_what_the_command_prints() -> None:
    printed = CliRunner().invoke(cli, ["openapi"])
    assert printed.exit_code == 0
    assert GOLDEN.read_text("utf-8") == printed.stdout, "run: make openapi"


def test_the_committed_document_is_the_apps(document: dict[str, Any]) -> None:
    assert json.loads(GOLDEN.read_text("utf-8")) == document


def test_every_operation_declares_problem_details_for_its_refusals(document: dict[str, Any]) -> None:
    assert len(operations(document)) > 15
    for operation in operations(document):
        assert operation["responses"].keys() <= {"200", "201", "202", "default"}
        assert operation["responses"]["default"]["content"].keys() == {"application/problem+json"}


def test_every_body_refuses_unknown_fields(document: dict[str, Any]) -> None:
    bodies = [schema for name, schema in document["components"]["schemas"].items() if name.endswith(("Body", "Wraps"))]
    assert len(bodies) > 10
    assert all(schema["additionalProperties"] is False for schema in bodies)
