"""dataspace.standard: schemas, their annotations, strict validation without values in messages, purposes."""

from __future__ import annotations

import json
import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dataspace.standard import (
    CollectionUnknownError,
    PurposeUnknownError,
    SchemaInvalidError,
    collection,
    collections,
    purpose,
    purposes,
    schema_id,
    validate,
)
from dataspace.standard.schemas import _FAULTS

DPV = Path("/work/shared/vectors/dpv/dpv.ttl")
SCHEMAS = [
    json.loads(entry.read_text("utf-8")) for entry in files("dataspace.standard").joinpath("collections").iterdir()
]
VALID: dict[str, dict[str, Any]] = {
    "demographics": {"sex": "female", "age": 42, "observed_year": 1971},
    "vitals": {"measured_year": 1982, "sbp": 175, "dbp": 96, "weight": 68946},
    "smoking": {"quit": False, "observed_year": 1982},
    "wages": {"month": "2026-02", "net_amount": 0},
    "social_insurance": {"month": "2026-12", "paid": True},
    "residence": {"district_code": "990101", "lease_registered": False},
}


def _refusal(name: str, data: Any) -> SchemaInvalidError:
    with pytest.raises(SchemaInvalidError) as caught:
        validate(name, data)
    return caught.value


def test_all_collections_are_there_and_take_a_valid_record() -> None:
    assert [one.name for one in collections()] == sorted(VALID)
    for name, data in VALID.items():
        validate(name, data)
        assert schema_id(name) == f"{name}/1" == collection(name).schema_id


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema["x-collection"])
def test_every_schema_is_closed_annotated_and_can_be_explained(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["$id"] == f"urn:pds:collection:{schema['x-collection']}:{schema['x-version']}"
    assert schema["x-sensitive"] == any(prop["x-sensitive"] for prop in schema["properties"].values())
    assert schema["x-sensitive"] == (schema["x-kind"] in {"health", "financial"})
    assert set(schema["required"]) <= set(schema["properties"])
    for prop in [schema, *schema["properties"].values()]:
        assert set(prop["x-name"]) == {"zh", "en"}
        assert all(prop["x-name"].values())
    for name, prop in schema["properties"].items():
        assert re.fullmatch("general-[1-4]", prop["x-grade"]), name
        assert {"x-unit", "x-source"} <= set(prop), name
        assert (prop["x-grade"] == "general-4") == prop["x-sensitive"], name
        rules = {key for key in prop if not key.startswith("x-")}
        assert rules <= set(_FAULTS), name
        assert prop["type"] != "integer" or {"minimum", "maximum"} <= rules, name


def test_sensitive_collections_are_the_health_and_financial_ones() -> None:
    assert {one.name: one.kind for one in collections() if one.sensitive} == {
        "vitals": "health",
        "smoking": "health",
        "wages": "financial",
    }
    assert collection("vitals").grade == "general-4"
    assert collection("residence").grade == "general-2"
    assert {one.name: one.unit for one in collection("vitals").fields}["weight"] == "gram"
    assert [one.name for one in collection("vitals").fields if one.required] == ["measured_year"]


@pytest.mark.parametrize(
    ("name", "change", "field"),
    [
        ("vitals", {"sbp": 175.0}, "sbp"),
        ("vitals", {"sbp": True}, "sbp"),
        ("vitals", {"sbp": "175"}, "sbp"),
        ("vitals", {"sbp": None}, "sbp"),
        ("vitals", {"sbp": 77777}, "sbp"),
        ("vitals", {"weight": 2**53}, "weight"),
        ("demographics", {"sex": "other77777"}, "sex"),
        ("demographics", {"age": -77777}, "age"),
        ("smoking", {"quit": 1}, "quit"),
        ("wages", {"net_amount": -77777}, "net_amount"),
        ("wages", {"month": "77777"}, "month"),
        ("wages", {"month": "2026-13"}, "month"),
        ("wages", {"month": "2026-02\n"}, "month"),
        ("residence", {"district_code": "990101\n"}, "district_code"),
        ("residence", {"district_code": "９９０１０１"}, "district_code"),
        ("residence", {"district_code": 990101}, "district_code"),
    ],
)
def test_a_wrong_value_names_the_field_and_never_the_value(name: str, change: dict[str, Any], field: str) -> None:
    error = _refusal(name, {**VALID[name], **change})
    assert error.code == "schema_invalid"
    assert error.extra["field"] == field
    assert str(error).startswith(f"{name}.{field} must ")
    assert not re.search("77777|175|9007199254740992|other", str(error) + str(error.extra))
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize("name", VALID)
def test_required_fields_are_missed_and_unknown_ones_refused(name: str) -> None:
    required = [one.name for one in collection(name).fields if one.required]
    for field in required:
        rest = {key: value for key, value in VALID[name].items() if key != field}
        error = _refusal(name, rest)
        assert (error.extra["field"], error.extra["problem"]) == (field, "is missing")
    assert str(_refusal(name, {**VALID[name], "extra": 77777})) == f"{name} has unknown fields: extra"
    assert str(_refusal(name, {**VALID[name], "13800077777": 1})) == f"{name} has unknown fields"


def test_a_record_must_be_an_object_that_says_something() -> None:
    assert "object" in str(_refusal("vitals", [1982, 175]))
    assert "2 fields" in str(_refusal("vitals", {"measured_year": 1982}))
    validate("vitals", {"measured_year": 1971, "weight": 79040})


def test_unknown_names_are_refused() -> None:
    for call in (collection, schema_id, lambda name: validate(name, {})):
        with pytest.raises(CollectionUnknownError):
            call("diagnoses")
    with pytest.raises(PurposeUnknownError):
        purpose("Marketing")


def test_purposes_have_both_languages() -> None:
    assert [one.code for one in purposes()] == ["AcademicResearch", "CreditChecking"]
    assert all(set(one.names) == {"zh", "en"} for one in purposes())
    assert purpose("AcademicResearch").iri == "https://w3id.org/dpv#AcademicResearch"


def test_every_purpose_is_a_purpose_of_dpv() -> None:
    if not DPV.exists():
        reason = f"{DPV} is not here"
        pytest.fail(reason) if os.environ.get("REQUIRE_ALL") == "1" else pytest.skip(reason)
    vocabulary = DPV.read_text("utf-8")
    for one in purposes():
        term = re.escape(one.iri.removeprefix("https://w3id.org/dpv#"))
        entry = re.search(rf"^dpv:{term} a (.*?) \.$", vocabulary, re.MULTILINE | re.DOTALL)
        assert entry, one.iri
        assert "dpv:Purpose" in entry[1], one.iri
        assert 'sw:term_status "accepted"' in entry[1], one.iri
