"""Cohort products: which SELECTs may run, and the typed tables they run over.

The SELECT only shapes unit rows: one row for each person. It never aggregates over people; output control does
(``output_control.py``), so the author of the SQL cannot put one person into another's cell. :func:`check_select` makes
that a property of the text, by induction over its tree:

- every relation (a table of the run or a CTE) has a column ``person``, and a row of it depends on that person alone;
- relations meet only by ``[INNER | LEFT] JOIN … USING (person)``: no other join, no subquery, no set operation;
- whoever aggregates groups by ``person``; no window functions, no LIMIT, no sample, no ORDER BY, no DISTINCT;
- nothing else can be called ``person``: every SELECT has the plain column ``person`` first, once, under its own name.

Functions, operators, node types and cast targets are allowlists. What can build large values (``repeat``, ``||``),
dynamic SQL (``query``), chance, time or error text (``error``) is not on them. Everything here is about the text; the
worker (``sandbox.py``) holds even when this check fails.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from connectors.compute.errors import ComputationRefusedError, ManifestRefusedError
from connectors.compute.records import Manifest, OpenedRecord, Value, current, inputs_of

PERSON = "person"
MAX_TEXT = 20_000

Columns = Mapping[str, str]
"""Column name to type: ``integer``, ``string`` or ``boolean``, as the collection's schema says."""

_PYTHON_TYPES = {"integer": int, "string": str, "boolean": bool}

_AGGREGATES = {"arg_max", "arg_min", "avg", "bool_and", "bool_or", "count", "count_star", "max", "min", "sum"}
_SCALARS = {"%", "*", "+", "-", "/", "//", "abs", "ceil", "floor", "greatest", "least", "length", "round", "substr"}
_CAST_TARGETS = {"BIGINT", "BOOLEAN", "INTEGER", "VARCHAR"}
_VALUE_WORDS = {
    "current_catalog",
    "current_database",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "localtime",
    "localtimestamp",
    "rowid",
    "session_user",
    "user",
}
"""Names that SQL reads as functions, or as the row's place, when no column has them."""

_EXPRESSIONS: Mapping[str, frozenset[str]] = {
    "BETWEEN": frozenset({"COMPARE_BETWEEN", "COMPARE_NOT_BETWEEN"}),
    "CASE": frozenset({"CASE_EXPR"}),
    "CAST": frozenset({"OPERATOR_CAST"}),
    "COLUMN_REF": frozenset({"COLUMN_REF"}),
    "COMPARISON": frozenset(
        {
            "COMPARE_DISTINCT_FROM",
            "COMPARE_EQUAL",
            "COMPARE_GREATERTHAN",
            "COMPARE_GREATERTHANOREQUALTO",
            "COMPARE_LESSTHAN",
            "COMPARE_LESSTHANOREQUALTO",
            "COMPARE_NOTEQUAL",
            "COMPARE_NOT_DISTINCT_FROM",
        }
    ),
    "CONJUNCTION": frozenset({"CONJUNCTION_AND", "CONJUNCTION_OR"}),
    "CONSTANT": frozenset({"VALUE_CONSTANT"}),
    "FUNCTION": frozenset({"FUNCTION"}),
    "OPERATOR": frozenset(
        {
            "COMPARE_IN",
            "COMPARE_NOT_IN",
            "OPERATOR_COALESCE",
            "OPERATOR_IS_NOT_NULL",
            "OPERATOR_IS_NULL",
            "OPERATOR_NOT",
            "OPERATOR_NULLIF",
        }
    ),
    "TYPE": frozenset({"TYPE"}),
}


@dataclass(frozen=True)
class Table:
    """One collection of the run, column by column; ``person`` is the index of a person in this run and no other."""

    columns: Columns
    values: Mapping[str, Sequence[Value | None]]


def tables_of(
    manifest: Manifest,
    people: Sequence[Mapping[str, Sequence[OpenedRecord]]],
    types: Mapping[str, Columns],
) -> dict[str, Table]:
    """Typed tables for the manifest's inputs. ``people[i]`` are the opened records of person ``i``, by collection.

    ``types`` are the fields of each collection's schema. A value of another type is missing (NULL): one source's
    broken record must not stop the whole cohort, and must not count either.
    """
    tables = {}
    for one in inputs_of(manifest):
        name, fields = one["collection"], one["fields"]
        if one.get("window"):
            raise ManifestRefusedError("a cohort product chooses its period in the SELECT, not by a window")
        columns = {PERSON: "integer", **{field: types[name][field] for field in fields}}
        rows = [(person, record) for person, held in enumerate(people) for record in current(held.get(name, ()))]
        values: dict[str, list[Value | None]] = {PERSON: [person for person, _ in rows]}
        for field in fields:
            values[field] = [_typed(record.data.get(field), columns[field]) for _, record in rows]
        tables[name] = Table(columns, values)
    return tables


def _typed(value: object, kind: str) -> Value | None:
    return value if type(value) is _PYTHON_TYPES[kind] and _fits(value) else None  # type: ignore[return-value]


def _fits(value: object) -> bool:
    return not isinstance(value, int) or abs(value) < 2**53


def check_select(text: str, tables: Mapping[str, Columns]) -> None:
    """Raise :class:`ComputationRefusedError` unless ``text`` is one SELECT that speaks of one person at a time.

    ``tables`` are the tables of the run with their columns (``person`` is implied). The reason names a construct of
    the text, never data.
    """
    _Checker(tables).statement(_parse(text))


def _parse(text: str) -> Mapping[str, Any]:
    if len(text) > MAX_TEXT:
        raise ComputationRefusedError("the text is too long")
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        try:
            found = connection.execute("SELECT json_serialize_sql($text)", {"text": text}).fetchone()
        except duckdb.Error as error:
            raise ComputationRefusedError("not SQL") from error
    tree: Mapping[str, Any] = json.loads(found[0])
    if tree.get("error") or len(tree["statements"]) != 1:
        raise ComputationRefusedError("not exactly one SELECT")
    statement: Mapping[str, Any] = tree["statements"][0]
    if statement["named_param_map"]:
        raise ComputationRefusedError("parameters are not bound")
    return statement


class _Checker:
    """Walks one statement. ``relations`` grows with each CTE, in the order in which they may refer to each other."""

    def __init__(self, tables: Mapping[str, Columns]) -> None:
        self.relations = {name.lower() for name in tables}
        self.columns = {PERSON, *(column.lower() for columns in tables.values() for column in columns)}

    def statement(self, statement: Mapping[str, Any]) -> None:
        self.select(statement["node"])

    def select(self, node: Mapping[str, Any]) -> None:
        _require(node["type"] == "SELECT_NODE", node["type"])
        _require(not node["modifiers"], "ORDER BY, LIMIT, DISTINCT")
        _require(node["sample"] is None and node["qualify"] is None, "sample, QUALIFY")
        _require(node["aggregate_handling"] == "STANDARD_HANDLING", "GROUP BY ALL")
        self.ctes(node["cte_map"]["map"])
        self.source(node["from_table"])
        self.names(node["select_list"])
        self.grouping(node)
        grouped = bool(node["group_expressions"])
        for part in (*node["select_list"], node["having"]):
            self.expression(part, aggregates=grouped)
        for part in (node["where_clause"], *node["group_expressions"]):
            self.expression(part, aggregates=False)

    def ctes(self, entries: Sequence[Mapping[str, Any]]) -> None:
        for entry in entries:
            value = entry["value"]
            _require(not value["aliases"] and not value["key_targets"], "renamed columns of a CTE")
            _require(entry["key"].lower() not in self.relations, "a CTE with the name of a table")
            self.select(value["query_node"])
            self.relations.add(entry["key"].lower())

    def source(self, node: Mapping[str, Any]) -> None:
        if node["type"] == "JOIN":
            _require(node["ref_type"] == "REGULAR" and node["join_type"] in ("INNER", "LEFT"), "this kind of join")
            _require(
                node["using_columns"] == [PERSON] and node["condition"] is None, "a join that is not USING (person)"
            )
            self.source(node["left"])
            self.source(node["right"])
            return
        _require(node["type"] == "BASE_TABLE", node["type"])
        plain = not (node["schema_name"] or node["catalog_name"] or node["column_name_alias"])
        _require(plain and node["sample"] is None and node["at_clause"] is None, "a decorated table")
        _require(node["table_name"].lower() in self.relations, "an unknown table")
        _require(node["alias"].lower() not in self.columns | _VALUE_WORDS, "a table alias with the name of a column")

    def names(self, select_list: Sequence[Mapping[str, Any]]) -> None:
        """``person`` first and plain; all other columns named, none of them ``person``."""
        _require(bool(select_list) and _is_person(select_list[0]), "a SELECT whose first column is not person")
        for item in select_list[1:]:
            name = (item["alias"] or (item.get("column_names") or [""])[-1]).lower()
            _require(name.isidentifier() and name not in _VALUE_WORDS | {PERSON}, "an unnamed or misnamed column")
            if item["alias"]:
                self.columns.add(name)

    def grouping(self, node: Mapping[str, Any]) -> None:
        groups = node["group_expressions"]
        _require(bool(groups) or node["having"] is None, "HAVING without GROUP BY")
        if groups:
            _require(any(_is_person(one) for one in groups), "a GROUP BY without person")
            _require(node["group_sets"] == [list(range(len(groups)))], "grouping sets")

    def expression(self, node: Any, *, aggregates: bool) -> None:
        """Walk ``node`` and all it holds; whatever carries a ``class`` must be on the allowlist."""
        if isinstance(node, list):
            for item in node:
                self.expression(item, aggregates=aggregates)
        elif isinstance(node, dict):
            if "class" in node:
                self.allowed(node, aggregates=aggregates)
            for item in node.values():
                self.expression(item, aggregates=aggregates)

    def allowed(self, node: Mapping[str, Any], *, aggregates: bool) -> None:
        kind = node["class"]
        _require(node["type"] in _EXPRESSIONS.get(kind, ()), str(node["type"]))
        if kind == "COLUMN_REF":
            path = [part.lower() for part in node["column_names"]]
            _require(len(path) <= 2 and path[-1] in self.columns, "an unknown column")
        elif kind == "TYPE":
            _require(node["type_name"].upper() in _CAST_TARGETS and not node["schema"], "this cast")
        elif kind == "FUNCTION":
            names = _SCALARS | _AGGREGATES if aggregates else _SCALARS
            _require(node["function_name"].lower() in names, "this function here")
            _require(not (node["schema"] or node["catalog"] or node["order_bys"]["orders"]), "a decorated function")


def _is_person(node: Mapping[str, Any]) -> bool:
    return node["class"] == "COLUMN_REF" and node["column_names"][-1] == PERSON and node["alias"] in ("", PERSON)


def _require(allowed: bool, what: str) -> None:
    if not allowed:
        raise ComputationRefusedError(f"not allowed: {what}")
