"""Individual products: one CEL expression, one of the declared answers, and "unknown" for everything else.

The same expression is evaluated in the resident's app (``@bufbuild/cel``) before the operator sees anything, so both
sides have to mean the same by it. The app must

- declare the same variables, ``parameters`` and ``as_of`` included, integers as BigInt (CEL ``int`` is 64 bits),
- register ``sum(list<int>) -> int``: 0 for the empty list, an error for an element that is no int (a bool is none)
  and for a sum outside 64 bits,
- turn every error and every value that is not declared into "unknown".

There is no clock in the language: time is the variable ``as_of``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from cel_expr_python import cel

UNKNOWN = "unknown"
MAX_TEXT = 20_000
"""Characters of an expression."""

_RESERVED = {"parameters"}


def evaluate(
    text: str, variables: Mapping[str, Any], parameters: Mapping[str, int | str], outputs: Sequence[str]
) -> str:
    """The answer of the expression: one of ``outputs``, or "unknown" whenever anything is missing or wrong.

    ``variables`` are strings, integers, or lists (of strings, or of maps with string keys, one map for each record).
    Whatever goes wrong (syntax, an undeclared name, an absent field, another type, overflow, a value outside
    ``outputs``) has the one outcome that says nothing about the person.
    """
    if len(text) > MAX_TEXT or _RESERVED & variables.keys():
        return UNKNOWN
    data = {**variables, "parameters": dict(parameters)}
    signature = tuple(sorted((name, _kind(value)) for name, value in data.items()))
    try:
        value = _compiled(text, signature).eval(data=data)
        answer = value.plain_value() if value.type() == cel.Type.STRING else UNKNOWN
    except Exception:  # the library raises RuntimeError, TypeError and pybind11's own: all mean "cannot tell"
        return UNKNOWN
    return answer if answer in outputs else UNKNOWN


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    for kind, name in ((int, "int"), (str, "string"), (list, "list"), (dict, "map")):
        if isinstance(value, kind):
            return name
    return "other"


def _sum(numbers: list[Any]) -> int:
    if any(type(number) is not int for number in numbers):
        raise TypeError("sum() takes whole numbers")
    return sum(numbers)


_TYPES = {
    "bool": cel.Type.BOOL,
    "int": cel.Type.INT,
    "string": cel.Type.STRING,
    "list": cel.Type.List(cel.Type.DYN),
    "map": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
}


@lru_cache(maxsize=256)
def _compiled(text: str, signature: tuple[tuple[str, str], ...]) -> Any:
    return _environment(signature).compile(text)


@lru_cache(maxsize=64)
def _environment(signature: tuple[tuple[str, str], ...]) -> Any:
    total = cel.Overload("sum_list_int", return_type=cel.Type.INT, parameters=[cel.Type.List(cel.Type.INT)], impl=_sum)
    return cel.NewEnv(
        variables={name: _TYPES[kind] for name, kind in signature},
        functions=[cel.FunctionDecl("sum", [total])],
    )
