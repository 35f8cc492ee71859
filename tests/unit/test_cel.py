"""An expression gives a declared answer or "unknown": nothing else, and never a text of its own."""

from __future__ import annotations

import pytest

from connectors.compute.cel import MAX_TEXT, evaluate

OUTPUTS = ["yes", "no", "unknown"]
ROWS = {"wages": [{"month": "2026-01", "net_amount": 100}, {"month": "2026-02", "net_amount": 200}]}


def say(text: str, variables: dict[str, object] | None = None, **parameters: int | str) -> str:
    return evaluate(text, ROWS if variables is None else variables, parameters, OUTPUTS)


def test_answers_with_parameters_and_sum() -> None:
    assert say('sum(wages.map(w, w.net_amount)) == parameters.total ? "yes" : "no"', total=300) == "yes"
    assert say('sum(wages.map(w, w.net_amount)) == parameters.total ? "yes" : "no"', total=301) == "no"
    assert say('sum([]) == 0 ? "yes" : "no"') == "yes"


@pytest.mark.parametrize(
    "text",
    [
        "wages[0].month",  # a value of the data, not a declared answer
        '"criteria"',
        "1",
        "true",
        "null",
        "(",
        'absent.size() > 0 ? "yes" : "no"',
        'wages[9].net_amount > 0 ? "yes" : "no"',
        'wages[0].employer == "x" ? "yes" : "no"',
        'wages[0].month > 3 ? "yes" : "no"',
        '1 / 0 > 0 ? "yes" : "no"',
        'sum([true]) == 1 ? "yes" : "no"',
        'sum(wages.map(w, w.month)) == 0 ? "yes" : "no"',
        'sum([9223372036854775807, 1]) > 0 ? "yes" : "no"',
        'now() > 0 ? "yes" : "no"',
        '"yes"' + " " * MAX_TEXT,
    ],
)
def test_everything_else_is_unknown(text: str) -> None:
    assert say(text) == "unknown"


def test_an_error_text_is_no_answer_even_when_it_is_declared() -> None:
    assert evaluate("1 / 0", {}, {}, ["INVALID_ARGUMENT: divide by zero"]) == "unknown"


@pytest.mark.parametrize("value", [None, 1.5, object(), 2**70])
def test_a_variable_of_another_type_is_unknown(value: object) -> None:
    assert say('wages == 1 ? "yes" : "no"', {"wages": value}) == "unknown"


def test_a_variable_cannot_take_the_place_of_the_parameters() -> None:
    assert say('parameters.a == 1 ? "yes" : "no"', {"parameters": {"a": 1}}, a=2) == "unknown"
