"""Collections: what one kind of data may hold, read once from ``collections/<name>.json`` (JSON Schema 2020-12).

Our annotation keywords stand on every property: ``x-name`` (zh, en), ``x-unit``, ``x-source`` (the kind of authority
that holds it), ``x-grade`` (GB/T 43697-2024, general-1 to general-4) and ``x-sensitive`` (PIPL article 28). A changed
meaning is a new ``x-version``; records name the version that they follow, for example ``vitals/1``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from dataspace.standard.errors import CollectionUnknownError, SchemaInvalidError

Names = Mapping[str, str]
"""``{"zh": …, "en": …}``."""


@dataclass(frozen=True)
class Field:
    """One property of a collection."""

    name: str
    type: str
    """``integer``, ``string`` or ``boolean``."""
    required: bool
    unit: str | None
    source: str
    grade: str
    sensitive: bool
    names: Names = field(hash=False)


@dataclass(frozen=True)
class Collection:
    """One narrow kind of data: the unit that a key can open."""

    name: str
    version: int
    schema_id: str
    """Name and version, as records carry it: ``vitals/1``."""
    kind: str
    """``health`` or ``financial`` for sensitive data (PIPL 28), else ``general``."""
    sensitive: bool
    fields: tuple[Field, ...]
    names: Names = field(hash=False)

    @property
    def grade(self) -> str:
        """The highest grade of any field (GB/T 43697: 就高从严)."""
        return max(one.grade for one in self.fields)


@cache
def collections() -> tuple[Collection, ...]:
    """All collections, ordered by name."""
    return tuple(_collection(_SCHEMAS[name]) for name in sorted(_SCHEMAS))


def collection(name: str) -> Collection:
    """The collection of this name; raises :class:`CollectionUnknownError`."""
    for one in collections():
        if one.name == name:
            return one
    raise CollectionUnknownError("no collection of this name")


def schema_id(name: str) -> str:
    """The schema that records of this collection follow today, for example ``vitals/1``."""
    return collection(name).schema_id


def validate(name: str, data: Any) -> None:
    """Raise :class:`SchemaInvalidError` unless ``data`` is a record of the collection ``name``."""
    validator = _VALIDATORS.get(name)
    if validator is None:
        raise CollectionUnknownError("no collection of this name")
    error = next(validator.iter_errors(data), None)
    if error is not None:
        where, what = _explain(error)
        subject = f"{name}.{where}" if where else name
        raise SchemaInvalidError(f"{subject} {what}", collection=name, field=where, problem=what)


def _is_whole_number(_checker: object, instance: object) -> bool:
    """JSON Schema also takes 1.0 for an integer; records hold no floats."""
    return isinstance(instance, int) and not isinstance(instance, bool)


def _load() -> dict[str, dict[str, Any]]:
    folder = files("dataspace.standard").joinpath("collections")
    schemas = [json.loads(entry.read_text("utf-8")) for entry in folder.iterdir() if entry.name.endswith(".json")]
    return {schema["x-collection"]: schema for schema in schemas}


def _collection(schema: dict[str, Any]) -> Collection:
    name, version, required = schema["x-collection"], schema["x-version"], schema["required"]
    fields = tuple(
        Field(
            name=key,
            type=prop["type"],
            required=key in required,
            unit=prop["x-unit"],
            source=prop["x-source"],
            grade=prop["x-grade"],
            sensitive=prop["x-sensitive"],
            names=prop["x-name"],
        )
        for key, prop in schema["properties"].items()
    )
    return Collection(
        name=name,
        version=version,
        schema_id=f"{name}/{version}",
        kind=schema["x-kind"],
        sensitive=schema["x-sensitive"],
        fields=fields,
        names=schema["x-name"],
    )


def _explain(error: ValidationError) -> tuple[str | None, str]:
    """Field and fault, in words made from the schema alone: jsonschema's own message would repeat the value."""
    instance: Any = error.instance
    rule: Any = error.validator_value
    if error.validator == "required":
        return next(name for name in rule if name not in instance), "is missing"
    if error.validator == "additionalProperties":
        return None, f"has {_unknown_fields(instance, error.schema)}"
    where = str(error.absolute_path[0]) if error.absolute_path else None
    return where, _FAULTS[str(error.validator)](rule)


def _unknown_fields(instance: Any, schema: Any) -> str:
    """A field that the schema does not know may itself carry data: only plain identifiers are repeated."""
    unknown = [name for name in instance if name not in schema["properties"]]
    plain = [name for name in unknown if isinstance(name, str) and re.fullmatch("[a-z][a-z_]{0,39}", name)]
    return f"unknown fields: {', '.join(sorted(plain))}" if len(plain) == len(unknown) else "unknown fields"


_TYPES = {
    "integer": "a whole number",
    "string": "text",
    "boolean": "true or false",
    "object": "an object",
}
_FAULTS: dict[str, Callable[[Any], str]] = {
    "type": lambda wanted: f"must be {_TYPES[wanted]}",
    "enum": lambda wanted: f"must be one of: {', '.join(wanted)}",
    "minimum": lambda wanted: f"must be at least {wanted}",
    "maximum": lambda wanted: f"must be at most {wanted}",
    "pattern": lambda wanted: f"must match {wanted}",
    "maxLength": lambda wanted: f"must have at most {wanted} characters",
    "minProperties": lambda wanted: f"must hold at least {wanted} fields",
}
"""What to say for every keyword that a schema file may use; a test walks the files for others."""

_StrictValidator = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_whole_number)
)
_SCHEMAS = _load()
_VALIDATORS: dict[str, Validator] = {name: _StrictValidator(schema) for name, schema in _SCHEMAS.items()}
