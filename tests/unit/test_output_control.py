"""The rules of output control, one by one."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.compute.output_control import (
    CellContributors,
    OutputSpecRefusedError,
    Released,
    Withheld,
    parse_spec,
    release,
    round_to,
)

SPEC: dict[str, Any] = {
    "by": ["sex"],
    "values": {"sex": ["female", "male"]},
    "count": "n",
    "measures": [
        {"name": "mean_sbp", "aggregate": "mean", "column": "sbp", "bounds": [80, 240], "unit": "mmHg"},
        {"name": "share_high", "aggregate": "share", "column": "high", "bounds": [0, 1], "unit": "permille"},
    ],
    "k": 10,
    "count_base": 5,
    "dominance_percent": 90,
}


def rows(number: int, sex: object = "male", sbp: object = 130, first: int = 0) -> list[dict[str, Any]]:
    high = sbp >= 140 if isinstance(sbp, int) else None
    return [{"person": f"p{first + n}", "sex": sex, "sbp": sbp, "high": high} for n in range(number)]


def released(found: list[dict[str, Any]], spec: dict[str, Any] | None = None) -> Released:
    outcome = release(found, spec or SPEC, [])
    assert isinstance(outcome, Released)
    return outcome


def test_a_cell_below_k_shows_nothing_and_an_empty_one_looks_the_same() -> None:
    nine, none = released([*rows(9, "female", first=100), *rows(10)]), released(rows(10))
    assert nine.table == none.table
    female, male = nine.table["cells"]
    blank = {"n": None, "mean_sbp": None, "share_high": None, "steps": None}
    assert female == {"sex": "female", "suppressed": True, **blank}
    assert (male["n"], male["mean_sbp"], male["suppressed"]) == (10, 140, False)
    assert nine.suppressed == {("female",): "cell_below_k"}
    assert set(nine.contributors) == {("male",)}


def test_nothing_is_left_when_all_cells_are_suppressed() -> None:
    assert release(rows(9), SPEC, []) == Withheld(("all_cells_suppressed",))
    assert release([], SPEC, []) == Withheld(("all_cells_suppressed",))


def test_counts_and_values_are_rounded_and_the_step_follows_from_the_published_count() -> None:
    for number in (98, 100, 102):
        cell = released(rows(number, sbp=133)).table["cells"][1]
        assert (cell["n"], cell["mean_sbp"], cell["steps"]) == (100, 134, {"mean_sbp": 2, "share_high": 20})


@pytest.mark.parametrize(("numerator", "rounded"), [(15, 20), (-15, -10), (14, 10), (-16, -20), (25, 30), (0, 0)])
def test_ties_go_up(numerator: int, rounded: int) -> None:
    assert round_to(numerator, 1, 10) == rounded


def test_values_are_clamped_to_the_bounds() -> None:
    wild = [*rows(99, sbp=130), *rows(1, sbp=10**12, first=99)]
    tame = [*rows(99, sbp=130), *rows(1, sbp=240, first=99)]
    assert released(wild).table == released(tame).table


def test_a_dominated_cell_is_suppressed() -> None:
    money = {"name": "mean", "aggregate": "mean", "column": "sbp", "bounds": [0, 1_000_000], "unit": "fen"}
    spec = {**SPEC, "measures": [money]}
    assert isinstance(release([*rows(20, sbp=1000)], spec, []), Released)
    rich = [*rows(20, sbp=1000), *rows(1, sbp=900_000, first=50)]
    assert release(rich, spec, []) == Withheld(("all_cells_suppressed",))
    outcome = release([*rich, *rows(10, "female", first=100)], spec, [])
    assert isinstance(outcome, Released)
    assert outcome.suppressed == {("male",): "cell_dominated"}


def test_two_largest_hold_at_most_the_declared_part() -> None:
    for percent, allowed in ((20, True), (19, False)):
        outcome = release(rows(10, sbp=100), {**SPEC, "dominance_percent": percent}, [])
        assert isinstance(outcome, Released) == allowed


def test_p_percent_counts_what_remains_beside_the_two_largest() -> None:
    money = {"name": "mean", "aggregate": "mean", "column": "sbp", "bounds": [0, 1_000_000], "unit": "fen"}
    spec = {**SPEC, "measures": [money], "dominance_percent": 100}
    two = [*rows(2, sbp=100_000, first=50)]
    assert isinstance(release([*rows(10, sbp=1000), *two], spec, []), Released)  # 10,000 beside 100,000: 10 %
    assert isinstance(release([*rows(10, sbp=999), *two], spec, []), Withheld)


def test_who_misses_something_is_not_in_the_table() -> None:
    whole = rows(12)
    for gap in ({"sbp": None}, {"high": None}, {"sex": None}, {"sex": "other"}, {"sex": True}):
        extra = [{**row, **gap} for row in rows(30, first=100)]
        assert released([*whole, *extra]).table == released(whole).table


@pytest.mark.parametrize("broken", [{"person": 1}, {"sbp": "130"}, {"sbp": 1.5}, {"person": "p1"}])
def test_malformed_rows_release_nothing(broken: dict[str, Any]) -> None:
    found = rows(20)
    found[0] = {**found[0], **broken}
    assert release(found, SPEC, []) == Withheld(("unit_rows_malformed",))


def test_a_row_without_a_column_releases_nothing() -> None:
    assert release([{"person": "a", "sex": "male"}], SPEC, []) == Withheld(("unit_rows_malformed",))


def earlier(number: int, release_id: str = "r1", first: int = 0, cell: str = "male") -> CellContributors:
    return CellContributors(release_id, (cell,), frozenset(f"p{first + n}" for n in range(number)))


@pytest.mark.parametrize(
    ("before", "allowed"), [(20, True), (21, False), (29, False), (30, True), (11, False), (19, False)]
)
def test_a_release_must_not_differ_by_too_few(before: int, allowed: bool) -> None:
    outcome = release(rows(20), SPEC, [earlier(before)])
    assert isinstance(outcome, Released) == allowed


def test_a_replacement_is_a_difference_too() -> None:
    assert release(rows(20, first=1), SPEC, [earlier(20)]) == Withheld(("release_differs_by_too_few",))


def test_finer_cells_are_put_together_before_they_are_compared() -> None:
    """Neither of two cells of ten is close to 22 people, but together they leave two of them alone."""
    halves = [earlier(10, cell="x"), earlier(10, first=10, cell="y")]
    assert release(rows(22), SPEC, halves) == Withheld(("release_differs_by_too_few",))
    assert isinstance(release(rows(30), SPEC, halves), Released)
    fine = [*rows(10), *rows(10, "female", first=10)]
    assert release(fine, SPEC, [earlier(22, cell="all")]) == Withheld(("release_differs_by_too_few",))


def test_a_suppressed_cell_is_not_compared() -> None:
    found = [*rows(20), *rows(5, "female", first=100)]
    assert isinstance(release(found, SPEC, [earlier(6, first=100, cell="female")]), Released)


@pytest.mark.parametrize(
    "change",
    [
        {"totals": True},
        {"margins": ["sex"]},
        {"k": 9},
        {"k": True},
        {"count_base": 4},
        {"count_base": 11},
        {"dominance_percent": 0},
        {"dominance_percent": 101},
        {"by": []},
        {"by": ["sex", "sex"]},
        {"by": ["age"]},
        {"values": {"sex": []}},
        {"values": {"sex": ["male", 1]}},
        {"values": {"sex": [True, False]}},
        {"values": {"sex": ["male", "male"]}},
        {"values": {"sex": list(range(10_001))}},
        {"count": "sex"},
        {"count": "a b"},
        {"measures": [{**SPEC["measures"][0], "aggregate": "max"}]},
        {"measures": [{**SPEC["measures"][0], "aggregate": "sum"}]},
        {"measures": [{**SPEC["measures"][0], "bounds": [240, 80]}]},
        {"measures": [{**SPEC["measures"][0], "bounds": [0.5, 1]}]},
        {"measures": [{**SPEC["measures"][0], "scale": 0}]},
        {"measures": [{**SPEC["measures"][0], "digits": 3}]},
        {"measures": [{**SPEC["measures"][1], "bounds": [0, 2]}]},
        {"measures": [{**SPEC["measures"][1], "unit": "mmHg"}]},
        {"measures": "x"},
    ],
)
def test_specs_that_are_refused(change: dict[str, Any]) -> None:
    parse_spec(SPEC)
    with pytest.raises(OutputSpecRefusedError):
        parse_spec({**SPEC, **change})
