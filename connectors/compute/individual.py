"""The answer to an individual product: what the operator gets, and nothing that depends on the records beyond it.

Three-valued: "no" is said only where no missing record could change it; the expression decides that, and everything
it cannot decide is "unknown". ``reason`` follows from the answer alone. ``sources`` names who delivered, never what.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

from connectors.compute.cel import UNKNOWN, evaluate
from connectors.compute.errors import ManifestRefusedError
from connectors.compute.records import Manifest, OpenedRecord, Value, current, inputs_of, visible

VALID_DAYS = 30
_REASONS = {"yes": "criteria_met", "no": "criteria_not_met", UNKNOWN: "not_enough_data"}
_OTHER_REASON = "declared_value"


@dataclass(frozen=True)
class IndividualAnswer:
    """Dates are "YYYY-MM-DD" in the district's civil time; ``covers`` are months ("YYYY-MM") under a window."""

    answer: str
    reason: str
    as_of: str
    covers: Mapping[str, str]
    sources: Sequence[str]
    valid_until: str

    def payload(self) -> dict[str, Any]:
        return asdict(self)


def answer(
    manifest: Manifest, records_by_collection: Mapping[str, Sequence[OpenedRecord]], as_of: str
) -> IndividualAnswer:
    """Evaluate ``manifest`` over one resident's opened records. ``as_of`` is the civil date, "YYYY-MM-DD"."""
    day = date.fromisoformat(as_of)
    computation = manifest["computation"]
    if manifest["kind"] != "individual" or computation["language"] != "cel":
        raise ManifestRefusedError("not an individual product with a CEL expression")
    months = window_months(day, _window_length(manifest))
    variables = _variables(manifest, records_by_collection, months, as_of)
    outputs = list(manifest["output"]["answers"])
    said = evaluate(computation["text"], variables, computation["parameters"], outputs)
    return IndividualAnswer(
        answer=said,
        reason=_REASONS.get(said, _OTHER_REASON),
        as_of=as_of,
        covers={"from": months[0], "to": months[-1]} if months else {"from": as_of, "to": as_of},
        sources=_sources(manifest, records_by_collection),
        valid_until=(day + timedelta(days=VALID_DAYS)).isoformat(),
    )


def window_months(as_of: date, months: int) -> list[str]:
    """The last ``months`` complete calendar months before ``as_of``, oldest first, as "YYYY-MM"."""
    last = as_of.year * 12 + as_of.month - 1
    return [f"{number // 12:04d}-{number % 12 + 1:02d}" for number in range(last - months, last)]


def _window_length(manifest: Manifest) -> int:
    """Months of the product's window, 0 without one; ``window_months`` is one variable, so there is one length."""
    lengths = {one["window"]["months"] for one in inputs_of(manifest) if one.get("window")}
    if len(lengths) > 1:
        raise ManifestRefusedError("the inputs declare windows of different lengths")
    return int(lengths.pop()) if lengths else 0


def _variables(
    manifest: Manifest, records: Mapping[str, Sequence[OpenedRecord]], months: list[str], as_of: str
) -> dict[str, Any]:
    """``<collection>``: a list of maps, newest first, or by month under a window; ``window_months``; ``as_of``."""
    variables: dict[str, Any] = {"as_of": as_of, "window_months": months}
    for one in inputs_of(manifest):
        name = one["collection"]
        if name in variables or name == "parameters":
            raise ManifestRefusedError("a collection has the name of a variable")
        rows = [visible(record, one["fields"]) for record in current(records.get(name, ()))]
        variables[name] = _one_per_month(rows, one["window"]["field"], months) if one.get("window") else rows
    return variables


def _one_per_month(rows: list[dict[str, Value]], field: str, months: list[str]) -> list[dict[str, Value]]:
    """The newest record of each month of the window; ``rows`` come newest first."""
    newest: dict[Value, dict[str, Value]] = {}
    for row in rows:
        month = row.get(field)
        if isinstance(month, str):
            newest.setdefault(month, row)
    return [newest[month] for month in months if month in newest]


def _sources(manifest: Manifest, records: Mapping[str, Sequence[OpenedRecord]]) -> list[str]:
    names = [one["collection"] for one in inputs_of(manifest)]
    return sorted({record.source_id for name in names for record in records.get(name, ())})
