"""S1 and the three-valued rule: missing data never becomes "no"."""

from __future__ import annotations

from datetime import date
from itertools import product
from typing import Any

import pytest

from connectors.compute.errors import ManifestRefusedError
from connectors.compute.individual import IndividualAnswer, answer, window_months
from connectors.compute.records import current, visible
from demo.products import income_check
from tests.fakes.compute import FakeRecord

AS_OF = "2026-11-22"
MONTHS = window_months(date(2026, 11, 22), 12)
MANIFEST = income_check("bank")


def wage(month: str, amount: object, **more: Any) -> FakeRecord:
    return FakeRecord({"month": month, "net_amount": amount, "employer": "x"}, source_id="tax", **more)


def ask(*records: FakeRecord, as_of: str = AS_OF) -> IndividualAnswer:
    return answer(MANIFEST, {"wages": list(records)}, as_of)


def paid(amounts: list[int | None]) -> list[FakeRecord]:
    return [wage(month, amount) for month, amount in zip(MONTHS, amounts, strict=True) if amount is not None]


def test_the_window_is_the_last_complete_months() -> None:
    assert MONTHS[0] == "2025-11"
    assert MONTHS[-1] == "2026-10"
    assert window_months(date(2026, 1, 1), 2) == ["2025-11", "2025-12"]


@pytest.mark.parametrize(
    ("amounts", "said"),
    [
        ([600_000] * 12, "yes"),
        ([599_999, *[600_000] * 11], "no"),
        ([800_000] * 9 + [0] * 3, "yes"),
        ([900_000] * 8 + [0] * 4, "no"),
        ([900_000] * 8 + [0] * 3 + [None], "unknown"),
        ([800_000] * 9 + [None] * 3, "yes"),
        ([1] * 9 + [None] * 3, "unknown"),
        ([1] * 11 + [None], "unknown"),
        ([0] * 4 + [None] * 8, "no"),
        ([0] * 3 + [None] * 9, "unknown"),
        ([None] * 12, "unknown"),
    ],
)
def test_income(amounts: list[int | None], said: str) -> None:
    assert ask(*paid(amounts)).answer == said


def test_missing_months_never_turn_an_answer_that_they_could_change() -> None:
    """Over small months: what is said with gaps holds for every way of filling them."""
    for gaps, low in product(range(6), (0, 100, 700_000)):
        known: list[int | None] = [low] * (12 - gaps)
        said = ask(*paid([*known, *[None] * gaps])).answer
        filled = {ask(*paid([*known, *[value] * gaps])).answer for value in (0, 1, 10**11)}
        assert said == "unknown" or filled == {said}


def test_the_answer_says_when_from_whom_and_until_when() -> None:
    result = ask(*paid([600_000] * 12))
    assert result.payload() == {
        "answer": "yes",
        "reason": "criteria_met",
        "as_of": AS_OF,
        "covers": {"from": "2025-11", "to": "2026-10"},
        "sources": ["tax"],
        "valid_until": "2026-12-22",
    }


def test_reason_follows_from_the_answer_alone() -> None:
    assert ask(*paid([1] * 12)).reason == "criteria_not_met"
    for unclear in ([None] * 12, [1] * 9 + [None] * 3):
        assert ask(*paid(unclear)).reason == "not_enough_data"


def test_superseded_and_older_records_of_a_month_do_not_count() -> None:
    wrong = wage(MONTHS[0], 9_000_000)
    right = wage(MONTHS[0], 1, supersedes=wrong.record_id, sequence=2)
    rest = [wage(month, 600_000) for month in MONTHS[1:]]
    assert ask(wrong, *rest).answer == "yes"
    assert ask(wrong, right, *rest).answer == "no"
    newer = wage(MONTHS[0], 1, issued_at=2)
    assert ask(wrong, newer, *rest).answer == "no"


def test_only_declared_fields_with_a_plain_value_are_visible() -> None:
    record = FakeRecord({"a": 1, "b": "x", "c": True, "d": 1.5, "e": {}, "f": None, "g": 1})
    assert visible(record, ["a", "b", "c", "d", "e", "f", "missing"]) == {"a": 1, "b": "x", "c": True}


def test_another_source_supersedes_nothing() -> None:
    record = wage(MONTHS[0], 1)
    foreign = wage(MONTHS[1], 1, supersedes=record.record_id, link_id="other", sequence=2)
    assert record in current([record, foreign])


@pytest.mark.parametrize("amount", ["600000", None, 1.5, {"a": 1}])
def test_a_broken_amount_is_unknown(amount: object) -> None:
    records = [wage(month, 600_000) for month in MONTHS[1:]]
    assert ask(wage(MONTHS[0], amount), *records).answer == "unknown"


def test_records_outside_the_window_and_other_fields_are_not_seen() -> None:
    assert ask(*(wage(f"2020-{month:02d}", 9_000_000) for month in range(1, 13))).answer == "unknown"
    curious = {
        **MANIFEST,
        "computation": {**MANIFEST["computation"], "text": 'wages[0].employer == "x" ? "yes" : "no"'},
    }
    assert answer(curious, {"wages": paid([600_000] * 12)}, AS_OF).answer == "unknown"


def test_manifests_that_this_node_does_not_understand_are_refused() -> None:
    inputs = MANIFEST["inputs"]
    other = {**inputs[0], "collection": "tax", "window": {"field": "month", "months": 3}}
    for broken in ([{**inputs[0], "filter": "x"}], [*inputs, *inputs], [*inputs, other]):
        with pytest.raises(ManifestRefusedError):
            answer({**MANIFEST, "inputs": broken}, {}, AS_OF)
    with pytest.raises(ManifestRefusedError):
        answer({**MANIFEST, "kind": "cohort"}, {}, AS_OF)
