from __future__ import annotations

from typing import Any

import pytest

from consent.meter import LIMIT_MILLIBITS, elements, millibits
from consent.model import Input
from tests.fakes import papers


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ({"answers": ["yes", "no", "unknown"]}, 1585),
        ({"answers": ["yes", "no"]}, 1585),
        ({"answers": ["yes"]}, 1000),
        ({"answers": ["yes", "yes", "unknown"]}, 1000),
        ({"answers": []}, 0),
        ({}, 0),
        ({"answers": [f"band {n}" for n in range(7)]}, 3000),
        ({"answers": [f"band {n}" for n in range(8)]}, 3170),
    ],
)
def test_an_answer_tells_the_logarithm_of_what_it_could_be(output: dict[str, Any], told: int) -> None:
    """Rounded up: a meter never counts too little. "unknown" is always possible."""
    assert millibits(papers.product(output=output)) == told


def test_a_table_of_a_cohort_is_left_to_output_control() -> None:
    assert millibits(papers.product(**papers.ONGOING)) == 0


def test_two_answers_of_yes_or_no_exceed_the_years_limit() -> None:
    assert millibits(papers.product()) <= LIMIT_MILLIBITS < 2 * millibits(papers.product())


def test_every_field_that_is_read_is_an_element() -> None:
    inputs = tuple(
        Input(collection=name, schema_id=f"{name}/1", fields=fields, window=None)
        for name, fields in (("wages", ("month", "net_amount")), ("vitals", ("sbp",)))
    )
    assert elements(papers.product(inputs=inputs)) == ("wages.month", "wages.net_amount", "vitals.sbp")
