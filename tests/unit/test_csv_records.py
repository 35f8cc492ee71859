"""connectors.sources.csv_records: strict reading, all faults with file, line and column, never a value."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from connectors.sources.csv_records import (
    MAX_LINE,
    MAX_PROBLEMS,
    CsvColumn,
    CsvLineError,
    CsvMapping,
    CsvMappingError,
    CsvProblem,
    SourceRecord,
    check,
    read_records,
)

WAGES = CsvMapping(
    collection="wages",
    person_column="no",
    columns=(CsvColumn("month", "month", "text"), CsvColumn("net_yuan", "net_amount", "decimal", scale=2)),
    ignored=("note",),
)
DEMOGRAPHICS = CsvMapping(
    collection="demographics",
    person_column="no",
    columns=(
        CsvColumn("sex", "sex", "text", codes={"男": "male", "女": "female"}),
        CsvColumn("age", "age", "int"),
        CsvColumn("year", "observed_year", "int"),
    ),
)
VITALS = CsvMapping(
    collection="vitals",
    person_column="no",
    columns=(CsvColumn("year", "measured_year", "int"), CsvColumn("sbp", "sbp", "int"), CsvColumn("dbp", "dbp", "int")),
)
SMOKING = CsvMapping(
    collection="smoking",
    person_column="no",
    columns=(CsvColumn("quit", "quit", "bool"), CsvColumn("year", "observed_year", "int")),
)
HEADER = b"no,month,net_yuan\n"


@pytest.fixture
def source(tmp_path: Path) -> Any:
    def write(content: bytes | str) -> Path:
        path = tmp_path / "wages.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def _only_problem(path: Path, mapping: CsvMapping = WAGES) -> CsvProblem:
    """The one fault of the file, which reading reports in the same words."""
    problems = check(path, mapping)
    assert len(problems) == 1, problems
    with pytest.raises(CsvLineError) as caught:
        list(read_records(path, mapping))
    assert caught.value.code == "csv_line_invalid"
    assert str(caught.value) == str(problems[0])
    return problems[0]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("last", [True, False], ids=["last line ended", "last line open"])
def test_reads_records_in_any_order_of_columns(source: Any, mark: bytes, end: bytes, last: bool) -> None:
    lines = [b"net_yuan,no,month", b"6230.5,T1,2026-01", b'"0","T2","2026-02"']
    path = source(mark + end.join(lines) + (end if last else b""))
    assert check(path, WAGES) == []
    assert list(read_records(path, WAGES)) == [
        SourceRecord("T1", "wages", {"month": "2026-01", "net_amount": 623050}, 2),
        SourceRecord("T2", "wages", {"month": "2026-02", "net_amount": 0}, 3),
    ]


def test_codes_booleans_ignored_columns_and_empty_values(source: Any) -> None:
    assert next(read_records(source("no,sex,age,year\nC1,女,42,1971\n"), DEMOGRAPHICS)).data["sex"] == "female"
    assert next(read_records(source("no,quit,year\nH1,false,1982\n"), SMOKING)).data["quit"] is False
    assert next(read_records(source("note,no,month,net_yuan\n=1+1,T1,2026-01,1\n"), WAGES)).data["net_amount"] == 100
    assert next(read_records(source("no,year,sbp,dbp\nH1,1982,,80\n"), VITALS)).data == {
        "measured_year": 1982,
        "dbp": 80,
    }
    assert list(read_records(source(HEADER), WAGES)) == []


@pytest.mark.parametrize(
    ("text", "fen"),
    [("0", 0), ("0.01", 1), ("7", 700), ("7.5", 750), ("1000000000.00", 100_000_000_000), ("0.1", 10)],
)
def test_decimals_are_exact(source: Any, text: str, fen: int) -> None:
    assert next(read_records(source(HEADER + f"T1,2026-01,{text}".encode()), WAGES)).data["net_amount"] == fen


@pytest.mark.parametrize(
    ("line", "column", "words"),
    [
        ("T1,2026-01,77777.123", "net_yuan", "more than 2 decimals"),
        ("T1,2026-01,1e77777", "net_yuan", "not a decimal"),
        ("T1,2026-01,\u0667\u0667\u0667", "net_yuan", "not a decimal"),
        ("T1,2026-01,1.\u0667", "net_yuan", "not a decimal"),
        ("T1,2026-01,77777x", "net_yuan", "not a decimal"),
        ("T1,2026-01,007", "net_yuan", "not a decimal"),
        ("T1,2026-01,+5", "net_yuan", "not a decimal"),
        ("T1,2026-01, 5", "net_yuan", "not a decimal"),
        ("T1,2026-01,7777777777777777", "net_yuan", "15 digits"),
        ("T1,2026-01,-77777", "net_yuan", "at least 0"),
        ("T1,2026-01,", "net_yuan", "is missing"),
        ("T1,2026-77777,1", "month", "must match"),
        ("T1,=HYPERLINK(77777),1", "month", "spreadsheet"),
        ("T1,＝77777,1", "month", "spreadsheet"),
        ("@77777,2026-01,1", "no", "spreadsheet"),
        ("-77777,2026-01,1", "no", "spreadsheet"),
        ("+77777,2026-01,1", "no", "spreadsheet"),
        (" 77777,2026-01,1", "no", "spaces"),
        (",2026-01,1", "no", "missing"),
        (f"{'7' * 65},2026-01,1", "no", "64"),
        ("T1,2026-01", None, "expected 3 columns, found 2"),
        ("T1,2026-01,1,77777", None, "expected 3 columns, found 4"),
        ("", None, "empty"),
        ('T1,"2026-01,77777', None, "quotation"),
        ('T1,"2026"77777,1', None, "quotation"),
        ("T1,2026-01\x00,77777", None, "control"),
        ("T1,2026\t-01,77777", None, "control"),
        ("T1,2026-01\r,77777", None, "control"),
        ("T1\u202e,2026-01,77777", None, "control"),
        ("\ufeffT1,2026-01,77777", None, "control"),
    ],
)
def test_a_fault_names_file_line_and_column_and_never_the_value(
    source: Any, line: str, column: str | None, words: str
) -> None:
    path = source(HEADER + b"T0,2026-01,1\n" + line.encode() + b"\nT9,2026-01,1\n")
    problem = _only_problem(path)
    assert (problem.file, problem.line, problem.column) == ("wages.csv", 3, column)
    assert words in problem.what
    assert "777" not in str(problem)
    assert str(problem).startswith("wages.csv, line 3")
    assert str(path.parent) not in str(problem)


def test_codes_and_booleans_have_the_declared_spellings_only(source: Any) -> None:
    assert _only_problem(source("no,sex,age,year\nC1,M,42,1971\n"), DEMOGRAPHICS).what == "must be one of: 男, 女"
    assert _only_problem(source("no,quit,year\nH1,True,1982\n"), SMOKING).what == "must be one of: true, false"
    assert "whole number" in _only_problem(source("no,quit,year\nH1,true,1982.0\n"), SMOKING).what


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("no,month", "columns are missing: net_yuan"),
        ("no,month,net_yuan,secret77777", "does not know, at position 4"),
        ("T1,2026-01,77777", "position 1, 2, 3"),
        ("no,month,net_yuan,month", "twice"),
        ("no;month;net_yuan", "position 1"),
        ("", "empty"),
    ],
)
def test_the_header_must_be_the_declared_one(source: Any, header: str, words: str) -> None:
    problem = _only_problem(source(f"{header}\nT1,2026-01,1,1\nT2\n"))
    assert problem.line == 1
    assert words in problem.what
    assert "777" not in str(problem)


def test_an_empty_file_is_a_fault(source: Any) -> None:
    assert "the file is empty" in _only_problem(source(b"")).what


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "latin-1"])
def test_other_encodings_are_refused_and_gb18030_is_named(source: Any, encoding: str) -> None:
    sex = "é" if encoding == "latin-1" else "男"
    content = "no,sex,age,year\n" + f"C1,{sex},42,1971\n" * 3
    problem = _only_problem(source(content.encode(encoding)), DEMOGRAPHICS)
    assert "not UTF-8" in problem.what
    assert "iconv -f GB18030" in problem.what
    assert problem.line == (1 if encoding == "utf-16" else 2)


def test_gb18030_that_happens_to_be_utf8_is_refused_by_its_code(source: Any) -> None:
    """女 alone is C5 AE in GB18030, which UTF-8 reads as another letter: declared codes and headers catch it."""
    path = source("no,sex,age,year\nC1,女,42,1971\n".encode("gb18030"))
    assert _only_problem(path, DEMOGRAPHICS).what == "must be one of: 男, 女"


def test_check_reports_every_fault_and_every_column_of_a_line(source: Any) -> None:
    path = source(HEADER + b"T1,=x,x\nT2,2026-01,1\nT3,2026-99,1\n,2026-01,1\nT5\n")
    assert [(one.line, one.column) for one in check(path, WAGES)] == [
        (2, "month"),
        (2, "net_yuan"),
        (4, "month"),
        (5, "no"),
        (6, None),
    ]
    with pytest.raises(CsvLineError) as caught:
        list(read_records(path, WAGES))
    assert caught.value.problem == check(path, WAGES)[0]


def test_check_stops_at_its_limit(source: Any) -> None:
    assert len(check(source(HEADER + b"T1,x,1\n" * 500), WAGES)) == MAX_PROBLEMS == 100


def test_a_line_without_end_is_cut_and_refused(source: Any) -> None:
    fitting = b"T1,2026-01," + b"9" * (MAX_LINE - 12) + b"\n"
    assert "15 digits" in _only_problem(source(HEADER + fitting)).what
    assert "longer than" in _only_problem(source(HEADER + b"9" * 50 + fitting)).what


def test_memory_does_not_grow_with_the_file(source: Any) -> None:
    path = source(HEADER + b"T1,2026-01,6230.50\n" * 20_000)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_records(path, WAGES)) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_mapping_must_fit_its_collection() -> None:
    month, net = CsvColumn("month", "month", "text"), CsvColumn("net", "net_amount", "int")
    wrong: list[tuple[tuple[CsvColumn, ...], str]] = [
        ((month,), "not mapped: net_amount"),
        ((month, CsvColumn("net", "net_amount", "text")), "no text field net_amount"),
        ((month, net, CsvColumn("gross", "gross_amount", "int")), "no int field gross_amount"),
        ((month, net, CsvColumn("month", "net_amount", "int")), "twice"),
        ((month, net, CsvColumn("net2", "net_amount", "int")), "twice"),
        ((month, CsvColumn("no", "net_amount", "int")), "twice"),
    ]
    for columns, words in wrong:
        with pytest.raises(CsvMappingError, match=words):
            CsvMapping("wages", "no", columns)
