"""Output control over generated populations: one person never shows."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.compute.output_control import CellContributors, Released, Withheld, release

K = 10


def spec(low: int, high: int, base: int) -> dict[str, Any]:
    return {
        "by": ["group"],
        "values": {"group": [0, 1]},
        "count": "n",
        "measures": [{"name": "mean", "aggregate": "mean", "column": "x", "bounds": [low, high], "unit": "u"}],
        "k": K,
        "count_base": base,
        "dominance_percent": 100,
    }


SPECS = st.builds(
    lambda low, width, base: spec(low, low + width, base),
    st.integers(-50_000, -1),  # below zero: no dominance rule, so that rounding is what is looked at
    st.integers(1, 100_000),
    st.integers(5, K),
)
VALUES = st.lists(st.tuples(st.integers(0, 1), st.integers(-60_000, 60_000)), max_size=80)
EXTREMES = st.lists(st.tuples(st.just(0), st.sampled_from((-60_000, 60_000))), min_size=10, max_size=120)


def rows(values: list[tuple[int, int]]) -> list[dict[str, Any]]:
    return [{"person": f"p{number}", "group": group, "x": x} for number, (group, x) in enumerate(values)]


@settings(max_examples=200)
@given(st.one_of(VALUES, EXTREMES), SPECS, st.data())
def test_removing_one_person_moves_no_value_by_more_than_a_step(
    values: list[tuple[int, int]], rules: dict[str, Any], data: st.DataObject
) -> None:
    found = rows(values)
    if not found:
        return
    gone = data.draw(st.integers(0, len(found) - 1))
    before, after = release(found, rules, []), release([*found[:gone], *found[gone + 1 :]], rules, [])
    if isinstance(before, Withheld) or isinstance(after, Withheld):
        return
    for old, new in zip(before.table["cells"], after.table["cells"], strict=True):
        if old["suppressed"] or new["suppressed"]:
            continue
        assert abs(old["mean"] - new["mean"]) <= max(old["steps"]["mean"], new["steps"]["mean"])
        assert abs(old["n"] - new["n"]) in (0, rules["count_base"])


@given(VALUES, SPECS)
def test_no_cell_below_k_and_no_count_that_is_not_rounded(values: list[tuple[int, int]], rules: dict[str, Any]) -> None:
    outcome = release(rows(values), rules, [])
    sizes = [sum(1 for one, _ in values if one == group) for group in (0, 1)]
    if isinstance(outcome, Withheld):
        assert max(sizes) < K
        return
    for size, cell in zip(sizes, outcome.table["cells"], strict=True):
        assert cell["suppressed"] == (size < K)
        assert cell["n"] is None or cell["n"] % rules["count_base"] == 0


@given(VALUES, SPECS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(
    values: list[tuple[int, int]], rules: dict[str, Any], random: Any
) -> None:
    found = rows(values)
    mixed = found[:]
    random.shuffle(mixed)
    assert release(found, rules, []) == release(mixed, rules, [])


@given(st.integers(K, 40), st.integers(1, K - 1))
def test_one_to_nine_persons_more_are_withheld_in_either_order(size: int, more: int) -> None:
    rules = spec(-10, 10, 5)
    small, large = rows([(0, 1)] * size), rows([(0, 1)] * (size + more))
    for first, second in ((small, large), (large, small)):
        before = release(first, rules, [])
        assert isinstance(before, Released)
        assert release(second, rules, contributors_of("r", before)) == Withheld(("release_differs_by_too_few",))


def contributors_of(release_id: str, outcome: Released) -> list[CellContributors]:
    return [CellContributors(release_id, cell, persons) for cell, persons in outcome.contributors.items()]
