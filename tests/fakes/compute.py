"""Opened records, and the research sample's shape without its people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

_numbers = count(1)


@dataclass(frozen=True)
class FakeRecord:
    """What the vault's reader returns, as far as a compute node looks at it."""

    data: Mapping[str, Any]
    record_id: str = field(default_factory=lambda: f"r{next(_numbers)}")
    source_id: str = "hospital"
    link_id: str = "link"
    sequence: int = 1
    supersedes: str | None = None
    issued_at: int = 1


TYPES = {
    "demographics": {"sex": "string", "age": "integer", "observed_year": "integer"},
    "vitals": {"measured_year": "integer", "sbp": "integer", "dbp": "integer", "weight": "integer"},
    "smoking": {"quit": "boolean", "observed_year": "integer"},
}


def person(number: int, sex: str = "male", age: int = 45, **vitals: int | None) -> dict[str, list[FakeRecord]]:
    """One person with one measurement in 1982."""
    link = f"link-{number}"
    return {
        "demographics": [FakeRecord({"sex": sex, "age": age, "observed_year": 1971}, link_id=link)],
        "vitals": [FakeRecord({"measured_year": 1982, **vitals}, link_id=link)],
    }
