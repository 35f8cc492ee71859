"""NHEFS (causaldata 0.1.5): 1,629 people who all smoked in 1971 and were seen again in 1982. A public research sample:
shown as 公开研究样本, never as residents of the district.

Facts of the file: ``age`` and ``wt71`` (kg) are of 1971; ``sbp``, ``dbp`` and ``wt82`` (kg) of 1982; ``qsmk`` tells
whether the person quit in between. ``sex`` stands as Stata codes 1 and 2 whose *labels* are "0" (male) and "1"
(female): read without the labels, every man would become a woman. Missing stays missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from importlib.metadata import files
from pathlib import Path
from typing import Any

import pandas as pd

from connectors.sources.csv_records import CsvColumn, CsvMapping
from demo import mappings
from demo.csvfiles import person_numbers, read_persons, write_persons, write_rows

PARTICIPANTS = 1629
MARK = "公开研究样本"
SEED = 1971

Record = dict[str, Any]


@dataclass(frozen=True)
class Participant:
    """One person of the study and their records by collection, in the order of time."""

    label: str
    records: dict[str, tuple[Record, ...]]


def participants() -> Iterator[Participant]:
    """All 1,629, in the order of the file; labels ``研究参与者 0001`` and up."""
    for number, row in enumerate(_study().to_dict("records"), start=1):
        yield Participant(f"研究参与者 {number:04d}", _records(row))


def write_csvs(folder: Path) -> None:
    """``health/`` (vitals, smoking, persons) and ``civil_affairs/`` (demographics, persons), under own numbers."""
    people = list(participants())
    labels = [one.label for one in people]
    health = person_numbers("nhefs health", "H", labels, SEED)
    civil = person_numbers("nhefs civil affairs", "C", labels, SEED)
    write_persons(folder / "health", health, MARK)
    write_persons(folder / "civil_affairs", civil, MARK)
    numbers = {"vitals": health, "smoking": health, "demographics": civil}
    for place, mapping in mappings.STUDY.items():
        rows = [
            (numbers[mapping.collection][one.label], *_csv_values(mapping, record))
            for one in people
            for record in one.records[mapping.collection]
        ]
        header = (mapping.person_column, *(column.column for column in mapping.columns))
        write_rows(folder / place, header, rows)


def reference_rows_a(folder: Path) -> list[Record]:
    """Unit rows of cohort A from the CSV files, by pandas alone: label, sex, age_band (1982), sbp, high."""
    people = _reference_people(folder)
    vitals = _reference_file(folder, "health", "vitals.csv")
    measured = vitals[(vitals["year"] == 1982) & vitals["systolic_mmhg"].notna()]
    joined = people.merge(measured[["label", "systolic_mmhg"]], on="label").sort_values("label")
    result = pd.DataFrame({"label": joined["label"], "sex": joined["sex"]})
    result["age_band"] = (joined["age"] + 11) // 10 * 10
    result["sbp"] = joined["systolic_mmhg"].astype("int64")
    result["high"] = result["sbp"] >= 140
    return _plain_rows(result)


def reference_rows_b(folder: Path) -> list[Record]:
    """Unit rows of cohort B: label, quit, sex, age_band (1971), weight_change in gram; both weights known."""
    vitals = _reference_file(folder, "health", "vitals.csv")
    vitals["gram"] = (vitals["weight_kg"] * 1000).round()
    weights = vitals.pivot_table(index="label", columns="year", values="gram").dropna().reset_index()
    joined = _reference_people(folder).merge(weights, on="label")
    joined = joined.merge(_reference_file(folder, "health", "smoking.csv"), on="label").sort_values("label")
    result = pd.DataFrame({"label": joined["label"], "quit": joined["quit"] == "Y", "sex": joined["sex"]})
    result["age_band"] = joined["age"] // 10 * 10
    result["weight_change"] = (joined[1982] - joined[1971]).astype("int64")
    return _plain_rows(result)


def _study() -> Any:
    """The columns that we use. Reads the file itself: importing causaldata would load all its data sets."""
    entry = next(one for one in files("causaldata") or () if one.name == "nhefs.dta")
    columns = ["sex", "age", "qsmk", "sbp", "dbp", "wt71", "wt82"]
    study = pd.read_stata(str(entry.locate()), columns=columns)
    if len(study) != PARTICIPANTS:
        raise RuntimeError(f"nhefs.dta holds {len(study)} people instead of {PARTICIPANTS}")
    return study


def _records(row: dict[str, Any]) -> dict[str, tuple[Record, ...]]:
    sex = {"0": "male", "1": "female"}[str(row["sex"])]
    weighed = {"measured_year": 1971, **_known("weight", _gram(row["wt71"]))}
    seen = {
        "measured_year": 1982,
        **_known("sbp", _whole(row["sbp"])),
        **_known("dbp", _whole(row["dbp"])),
        **_known("weight", _gram(row["wt82"])),
    }
    return {
        "demographics": ({"sex": sex, "age": int(row["age"]), "observed_year": 1971},),
        "vitals": tuple(one for one in (weighed, seen) if len(one) > 1),
        "smoking": ({"quit": bool(row["qsmk"] == 1), "observed_year": 1982},),
    }


def _known(field: str, value: int | None) -> Record:
    return {} if value is None else {field: value}


def _whole(value: float) -> int | None:
    return None if math.isnan(value) else int(value)


def _gram(kilograms: float) -> int | None:
    """Whole gram, a half to the even neighbour; by way of the decimal that the number prints as."""
    if math.isnan(kilograms):
        return None
    return int((Decimal(repr(float(kilograms))) * 1000).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def _csv_values(mapping: CsvMapping, record: Record) -> list[str]:
    return [_csv_value(column, record.get(column.field)) for column in mapping.columns]


def _csv_value(column: CsvColumn, value: Any) -> str:
    if value is None:
        return ""
    if column.codes:
        return next(code for code, meaning in column.codes.items() if meaning == value)
    return str(Decimal(value).scaleb(-column.scale)) if column.type == "decimal" else str(value)


def _reference_people(folder: Path) -> Any:
    people = _reference_file(folder, "civil_affairs", "demographics.csv")[["label", "sex", "age"]]
    return people.assign(sex=people["sex"].map({"M": "male", "F": "female"}))


def _reference_file(folder: Path, authority: str, name: str) -> Any:
    """A file with the label of each person in place of the authority's number."""
    rows = pd.read_csv(folder / authority / name)
    labels = {number: label for label, number in read_persons(folder / authority).items()}
    return rows.assign(label=rows.iloc[:, 0].map(labels))


def _plain_rows(frame: Any) -> list[Record]:
    """Rows of Python's own int, str and bool."""
    return [
        {str(key): getattr(value, "item", lambda v=value: v)() for key, value in row.items()}
        for row in frame.to_dict("records")
    ]
