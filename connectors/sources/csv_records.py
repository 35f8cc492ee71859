"""CSV files of an authority, read strictly: a line is a valid record, or line, column and fault are named.

Rules, in order:

1. UTF-8, with or without byte order mark; one line is one record (no line break inside a value, no control
   character, at most 64 KiB), RFC 4180 quoting.
2. The header holds the person column and every mapped column once, and no column that the mapping does not declare.
3. A value has the one spelling that its column declares; an empty value means "not known" and leaves the field out.
4. Text never begins with ``=``, ``+``, ``-`` or ``@`` (or their full-width forms): a spreadsheet that
   opens it later would run it as a formula.
5. What comes out follows the collection's schema (``dataspace.standard``).

Messages name file, line and column, never a value: they end up in logs and in other people's mail. Both functions
stream and hold one line at a time. Call :func:`check` first and send only when it returns nothing.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

from dataspace.kernel.errors import DataspaceError
from dataspace.standard import SchemaInvalidError, collection, validate

MAX_LINE = 64 * 1024
MAX_PROBLEMS = 100

Value = int | str | bool
ColumnType = Literal["int", "text", "bool", "decimal"]


class CsvMappingError(DataspaceError):
    """The mapping itself cannot produce records of its collection."""

    code = "csv_mapping_invalid"


@dataclass(frozen=True)
class CsvProblem:
    """One fault: where it stands and what is wrong, without the value."""

    file: str
    line: int
    column: str | None
    what: str

    def __str__(self) -> str:
        column = f", column {self.column}" if self.column else ""
        return f"{self.file}, line {self.line}{column}: {self.what}"


class CsvLineError(DataspaceError):
    """A line of the file is not a record; ``problem`` says where and why."""

    code = "csv_line_invalid"
    status = 422

    def __init__(self, problem: CsvProblem) -> None:
        super().__init__(str(problem), file=problem.file, line=problem.line, column=problem.column)
        self.problem = problem


@dataclass(frozen=True)
class CsvColumn:
    """A column of the file and the collection's field that it fills."""

    column: str
    field: str
    type: ColumnType
    scale: int = 0
    """For ``decimal``: the field holds the number times 10 to this power (yuan to fen: 2). More are refused."""
    codes: Mapping[str, Value] = dataclass_field(default_factory=dict, hash=False)
    """For ``text`` and ``bool``: the file's spelling and what it means; ``bool`` defaults to true and false."""


@dataclass(frozen=True)
class CsvMapping:
    """How one file becomes records of one collection. Refused when it cannot fill the required fields."""

    collection: str
    person_column: str
    columns: tuple[CsvColumn, ...]
    ignored: tuple[str, ...] = ()
    """Columns that may stand in the file and are not read."""

    def __post_init__(self) -> None:
        known = {one.name: one for one in collection(self.collection).fields}
        names = self.declared()
        filled = [one.field for one in self.columns]
        if len(set(names)) != len(names) or len(set(filled)) != len(filled):
            raise CsvMappingError("a column or a field is mapped twice")
        for one in self.columns:
            if one.field not in known or known[one.field].type != _FIELD_TYPES[one.type]:
                raise CsvMappingError(f"column {one.column}: {self.collection} has no {one.type} field {one.field}")
        missing = [name for name, one in known.items() if one.required and name not in filled]
        if missing:
            raise CsvMappingError(f"required fields are not mapped: {', '.join(missing)}")

    def declared(self) -> tuple[str, ...]:
        """Every column that may stand in the file."""
        return (self.person_column, *(one.column for one in self.columns), *self.ignored)


@dataclass(frozen=True)
class SourceRecord:
    """One record as the authority holds it, under the authority's own person number."""

    person: str
    collection: str
    data: dict[str, Value]
    line: int


def read_records(path: Path, mapping: CsvMapping) -> Iterator[SourceRecord]:
    """The records of the file, one at a time; raises :class:`CsvLineError` at the first fault."""
    for item in _items(path, mapping):
        if isinstance(item, CsvProblem):
            raise CsvLineError(item)
        yield item


def check(path: Path, mapping: CsvMapping) -> list[CsvProblem]:
    """All faults of the file, at most :data:`MAX_PROBLEMS`; empty when the whole file can be read."""
    problems = (item for item in _items(path, mapping) if isinstance(item, CsvProblem))
    return list(islice(problems, MAX_PROBLEMS))


class _Fault(Exception):  # noqa: N818 - never leaves this module
    """What is wrong with a line or with one value of it; ``fatal`` when the rest of the file cannot be judged."""

    def __init__(self, what: str, *, fatal: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.fatal = fatal


def _items(path: Path, mapping: CsvMapping) -> Iterator[SourceRecord | CsvProblem]:
    """Records and problems in the order of the file; ends early when a fault makes the rest unreadable."""
    with path.open("rb") as file:
        header: list[str] | None = None
        for number, raw in enumerate(_lines(file), start=1):
            try:
                cells = _cells(raw, first=number == 1)
                if header is None:
                    header = _header(cells, mapping)
                else:
                    yield from _record(path.name, number, _row(header, cells), mapping)
            except _Fault as fault:
                yield CsvProblem(path.name, number, None, fault.what)
                if fault.fatal or header is None:
                    return
        if header is None:
            yield CsvProblem(path.name, 1, None, "the file is empty; the first line must name the columns")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines with their end; a longer one is cut behind the limit, which :func:`_cells` then refuses."""
    while raw := file.readline(MAX_LINE + 1):
        yield raw


def _cells(raw: bytes, *, first: bool) -> list[str]:
    if len(raw) > MAX_LINE:
        raise _Fault(f"the line is longer than {MAX_LINE} bytes", fatal=True)
    try:
        text = raw.decode("utf-8-sig" if first else "utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise _Fault(_NOT_UTF8, fatal=True) from None
    if _CONTROL.search(text):
        raise _Fault("control characters, such as NUL or a tab, are not allowed")
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error:
        raise _Fault("the quotation marks do not match, or a value holds a line break") from None
    if not rows or not rows[0]:
        raise _Fault("the line is empty")
    return rows[0]


def _header(cells: list[str], mapping: CsvMapping) -> list[str]:
    """Positions instead of names for unknown columns: a file without header shows its first person there."""
    declared = mapping.declared()
    unknown = [str(place) for place, name in enumerate(cells, start=1) if name not in declared]
    if unknown:
        raise _Fault(f"the header names columns that the mapping does not know, at position {', '.join(unknown)}")
    if len(set(cells)) != len(cells):
        raise _Fault("the header names a column twice")
    missing = [name for name in declared if name not in cells and name not in mapping.ignored]
    if missing:
        raise _Fault(f"columns are missing: {', '.join(missing)}")
    return cells


def _row(header: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) != len(header):
        raise _Fault(f"expected {len(header)} columns, found {len(cells)}")
    return dict(zip(header, cells, strict=True))


def _record(file: str, number: int, row: dict[str, str], mapping: CsvMapping) -> Iterator[SourceRecord | CsvProblem]:
    """The record of one line, or every fault of the line."""
    faults: list[CsvProblem] = []
    person = ""
    try:
        person = _person(row[mapping.person_column])
    except _Fault as fault:
        faults.append(CsvProblem(file, number, mapping.person_column, fault.what))
    data: dict[str, Value] = {}
    for one in mapping.columns:
        try:
            if row[one.column]:
                data[one.field] = _PARSERS[one.type](row[one.column], one)
        except _Fault as fault:
            faults.append(CsvProblem(file, number, one.column, fault.what))
    if not faults:
        faults.extend(_schema_problems(file, number, data, mapping))
    if faults:
        yield from faults
    else:
        yield SourceRecord(person, mapping.collection, data, number)


def _schema_problems(file: str, number: int, data: dict[str, Value], mapping: CsvMapping) -> Iterator[CsvProblem]:
    try:
        validate(mapping.collection, data)
    except SchemaInvalidError as error:
        column = next((one.column for one in mapping.columns if one.field == error.extra["field"]), None)
        yield CsvProblem(file, number, column, str(error.extra["problem"]))


def _person(text: str) -> str:
    if not text:
        raise _Fault("the person number is missing")
    if len(text) > 64:
        raise _Fault("a person number has at most 64 characters")
    return _plain(text)


def _plain(text: str) -> str:
    if text[0] in "=+-@＝＋－＠":
        raise _Fault("text must not begin with =, +, - or @ (a spreadsheet would run it)")
    if text != text.strip():
        raise _Fault("spaces around the value")
    return text


def _int(text: str, _column: CsvColumn) -> Value:
    if not _INT.fullmatch(text):
        raise _Fault("not a whole number of at most 15 digits")
    return int(text)


def _decimal(text: str, column: CsvColumn) -> Value:
    """Digits are moved, never computed with: no rounding can happen."""
    match = _DECIMAL.fullmatch(text)
    if not match:
        raise _Fault("not a decimal number")
    sign, whole, fraction = match[1], match[2], match[3] or ""
    if len(fraction) > column.scale:
        raise _Fault(f"more than {column.scale} decimals")
    digits = whole + fraction.ljust(column.scale, "0")
    if len(digits.lstrip("0")) > 15:
        raise _Fault("more than 15 digits")
    return int(sign + digits)


def _text(text: str, column: CsvColumn) -> Value:
    return _coded(text, column.codes) if column.codes else _plain(text)


def _bool(text: str, column: CsvColumn) -> Value:
    return _coded(text, column.codes or _TRUE_FALSE)


def _coded(text: str, codes: Mapping[str, Value]) -> Value:
    if text not in codes:
        raise _Fault(f"must be one of: {', '.join(codes)}")
    return codes[text]


_NOT_UTF8 = (
    "the file is not UTF-8; convert it first, for example from GB18030 with: "
    "iconv -f GB18030 -t UTF-8 old.csv > new.csv"
)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]")
"""C0 and C1 controls, line and paragraph separators, direction marks, byte order marks inside the file."""
_INT = re.compile("-?(0|[1-9][0-9]{0,14})")
_DECIMAL = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?")
_TRUE_FALSE: Mapping[str, Value] = {"true": True, "false": False}
_FIELD_TYPES: dict[ColumnType, str] = {"int": "integer", "decimal": "integer", "text": "string", "bool": "boolean"}
_PARSERS: dict[ColumnType, Callable[[str, CsvColumn], Any]] = {
    "int": _int,
    "decimal": _decimal,
    "text": _text,
    "bool": _bool,
}
