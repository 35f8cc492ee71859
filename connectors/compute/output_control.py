"""From unit rows to a table that may leave: pure rules, outside the worker, independent of the order of the rows.

1. **Schema.** The manifest declares every group value; the table has a cell for each combination, whether anybody is in
   it or not, so that the presence of a cell tells nothing. A person counts where all group values are declared ones
   and all measures are there; a person with something missing is not in the table at all, so that every figure
   of a cell has the same contributors.
2. **k distinct persons** in a cell, or it is suppressed. A suppressed cell shows its group values, null, and no reason.
3. **Dominance**, for means of magnitudes (lower bound not negative): the two largest contributors hold at most
   ``dominance_percent`` of the cell's total, and what remains without them is at least ``P_PERCENT`` of the largest
   (p % rule); otherwise the cell is suppressed as well.
4. **Rounding.** Counts to the nearest multiple of ``count_base``, ties up. Values are clamped to ``bounds``; then one
   person among n moves a mean by at most (hi - lo) / n. Means and shares are rounded to the smallest step of
   1, 2, 5, 10, 20, 50, … that is not below this bound, ties towards plus infinity. The step follows from the
   *published* count (n is at least published - count_base // 2), so that it does not betray the exact one; it is
   published too. Hence removing one person moves an unsuppressed value by at most one step.
5. **No margins, no minimum, no maximum, no sum.** The spec has no word for them. Without totals there is nothing to
   subtract the shown cells from, which is why no second cell has to be suppressed.
6. **Differencing.** No shown cell, and no union of shown cells of one release, may differ from a shown cell of
   another release on the same fields by 1 … k - 1 contributors; otherwise nothing is released.

What stays: a share of 0 or of everything tells about all members of a cell, up to one step; a failing SELECT tells
that it failed. The reviewers of a product judge both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, Literal

from dataspace.kernel.errors import DataspaceError

LEAST_K = 10
LEAST_COUNT_BASE = 5
P_PERCENT = 10
MAX_CELLS = 10_000

_SHARE_SCALES = {"percent": 100, "permille": 1000}
_SPEC_MEMBERS = {"by", "values", "count", "measures", "k", "count_base", "dominance_percent"}
_MEASURE_MEMBERS = {"name", "aggregate", "column", "bounds", "unit", "scale", "fields"}

Row = Mapping[str, Any]
Cell = tuple[str | int, ...]
"""Group values of a cell, in the order of ``by``."""


class OutputSpecRefusedError(DataspaceError):
    """The manifest's ``output`` asks for something that output control does not release."""

    code = "output_spec_refused"


@dataclass(frozen=True)
class Measure:
    """A mean or a share of one column. ``scale`` times the mean is published, in ``unit``, as a whole number."""

    name: str
    column: str
    low: int
    high: int
    unit: str
    scale: int
    magnitude: bool


@dataclass(frozen=True)
class OutputSpec:
    """The ``output`` of a cohort manifest, read."""

    by: tuple[str, ...]
    values: Mapping[str, tuple[str | int, ...]]
    count: str
    measures: tuple[Measure, ...]
    k: int
    count_base: int
    dominance_percent: int


@dataclass(frozen=True)
class CellContributors:
    """Who stands behind one shown cell of one release, as opaque digests."""

    release_id: str
    cell: Cell
    contributors: frozenset[str]


@dataclass(frozen=True)
class Released:
    """``table`` may leave. ``contributors`` holds the shown cells only; ``suppressed`` (cell to code) stays inside."""

    table: Mapping[str, Any]
    contributors: Mapping[Cell, frozenset[str]]
    suppressed: Mapping[Cell, str]


@dataclass(frozen=True)
class Withheld:
    """Nothing leaves; stable reason codes."""

    reasons: tuple[str, ...]


def release(
    unit_rows: Sequence[Row], spec: Mapping[str, Any], earlier: Sequence[CellContributors]
) -> Released | Withheld:
    """Apply the rules above. Each row's ``person`` is the caller's keyed digest of that person, a string.

    ``earlier`` are the shown cells of all earlier releases on the same fields. Raises
    :class:`OutputSpecRefusedError` for a spec that breaks the schema, whatever the rows are.
    """
    rules = parse_spec(spec)
    if not _well_formed(unit_rows, rules):
        return Withheld(("unit_rows_malformed",))
    members = _members(unit_rows, rules)
    suppressed = {cell: code for cell in _cells(rules) if (code := _suppression(members[cell], rules)) is not None}
    shown = [cell for cell in _cells(rules) if cell not in suppressed]
    if not shown:
        return Withheld(("all_cells_suppressed",))
    contributors = {cell: frozenset(str(row["person"]) for row in members[cell]) for cell in shown}
    if _differs_by_too_few(contributors, earlier, rules.k):
        return Withheld(("release_differs_by_too_few",))
    cells = [_cell(cell, members[cell], cell in contributors, rules) for cell in _cells(rules)]
    units = {measure.name: measure.unit for measure in rules.measures}
    table = {"by": list(rules.by), "count": rules.count, "units": units, "k": rules.k, "cells": cells}
    return Released(table, contributors, suppressed)


def parse_spec(spec: Mapping[str, Any]) -> OutputSpec:
    """The spec, or :class:`OutputSpecRefusedError`. Unknown members (totals, margins, …) are refused.

    ``{"by": [column, …], "values": {column: [value, …]}, "count": name, "measures": [measure, …], "k": ≥ 10,
    "count_base": ≥ 5 and ≤ k, "dominance_percent": 1 … 100}``; a measure is ``{"name", "aggregate": "mean" | "share",
    "column", "bounds": [lo, hi], "unit", "scale"?, "fields"?}``. ``scale`` is for means (default 1); shares are in
    ``percent`` or ``permille`` of a true/false or 0/1 column. ``fields`` (``collection.field``) names what the
    measure is made of; ``releases.measured_fields`` reads it.
    """
    try:
        _refuse_unless(spec.keys() == _SPEC_MEMBERS, "members")
        by = tuple(spec["by"])
        values = {column: tuple(spec["values"][column]) for column in by}
        measures = tuple(_measure(one) for one in spec["measures"])
        rules = OutputSpec(
            by, values, spec["count"], measures, spec["k"], spec["count_base"], spec["dominance_percent"]
        )
        _check(rules, spec)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise OutputSpecRefusedError("the output is not of the shape that output control knows") from error
    return rules


def _check(rules: OutputSpec, spec: Mapping[str, Any]) -> None:
    numbers = (rules.k, rules.count_base, rules.dominance_percent)
    _refuse_unless(all(type(number) is int for number in numbers), "whole numbers")
    _refuse_unless(rules.k >= LEAST_K, "k")
    _refuse_unless(LEAST_COUNT_BASE <= rules.count_base <= rules.k, "count_base")
    _refuse_unless(1 <= rules.dominance_percent <= 100, "dominance_percent")
    names = ["person", "suppressed", "steps", *rules.by, rules.count, *(measure.name for measure in rules.measures)]
    _refuse_unless(all(isinstance(name, str) and name.isidentifier() for name in names), "names")
    _refuse_unless(len(set(names)) == len(names), "names that stand twice")
    _refuse_unless(bool(rules.by) and spec["values"].keys() == set(rules.by), "values")
    for column in rules.by:
        domain = rules.values[column]
        _refuse_unless(bool(domain) and len(set(domain)) == len(domain), "values")
        _refuse_unless(all(type(value) is type(domain[0]) and type(value) in (str, int) for value in domain), "values")
    _refuse_unless(prod(len(domain) for domain in rules.values.values()) <= MAX_CELLS, "too many cells")


def _measure(one: Mapping[str, Any]) -> Measure:
    _refuse_unless(_MEASURE_MEMBERS >= one.keys() >= _MEASURE_MEMBERS - {"scale", "fields"}, "members of a measure")
    low, high = one["bounds"]
    share = one["aggregate"] == "share"
    _refuse_unless(share or one["aggregate"] == "mean", "this aggregate")
    _refuse_unless(type(low) is int and type(high) is int and low < high, "bounds")
    _refuse_unless(isinstance(one["column"], str) and isinstance(one["unit"], str), "column, unit")
    if share:
        _refuse_unless((low, high) == (0, 1) and "scale" not in one and one["unit"] in _SHARE_SCALES, "a share")
    scale = _SHARE_SCALES[one["unit"]] if share else one.get("scale", 1)
    _refuse_unless(type(scale) is int and scale >= 1, "scale")
    return Measure(one["name"], one["column"], low, high, one["unit"], scale, magnitude=not share and low >= 0)


def _refuse_unless(good: bool, what: str) -> None:
    if not good:
        raise OutputSpecRefusedError(f"the output is refused: {what}")


def _well_formed(rows: Sequence[Row], rules: OutputSpec) -> bool:
    """One row for each person, all columns there, measures whole numbers or true/false."""
    columns = {"person", *rules.by, *(measure.column for measure in rules.measures)}
    measures = [measure.column for measure in rules.measures]
    for row in rows:
        if not columns <= row.keys() or not isinstance(row["person"], str):
            return False
        if not all(row[column] is None or isinstance(row[column], int) for column in measures):
            return False
    return len({row["person"] for row in rows}) == len(rows)


def _members(rows: Sequence[Row], rules: OutputSpec) -> dict[Cell, list[Row]]:
    """Rows by cell. Group values are compared with their type: True is not 1."""
    declared = {column: {(type(value), value) for value in rules.values[column]} for column in rules.by}
    members: dict[Cell, list[Row]] = defaultdict(list)
    for row in rows:
        placed = all((type(row[column]), row[column]) in declared[column] for column in rules.by)
        if placed and all(row[measure.column] is not None for measure in rules.measures):
            members[tuple(row[column] for column in rules.by)].append(row)
    return members


def _cells(rules: OutputSpec) -> Iterable[Cell]:
    return product(*(rules.values[column] for column in rules.by))


def _suppression(rows: Sequence[Row], rules: OutputSpec) -> Literal["cell_below_k", "cell_dominated"] | None:
    if len(rows) < rules.k:
        return "cell_below_k"
    magnitudes = [measure for measure in rules.measures if measure.magnitude]
    if any(_dominated(_clamped(rows, measure), rules.dominance_percent) for measure in magnitudes):
        return "cell_dominated"
    return None


def _dominated(values: Sequence[int], percent: int) -> bool:
    ordered, total = sorted(values, reverse=True), sum(values)
    two = ordered[0] + ordered[1]
    return 100 * two > percent * total or 100 * (total - two) < P_PERCENT * ordered[0]


def _clamped(rows: Sequence[Row], measure: Measure) -> list[int]:
    return [min(max(int(row[measure.column]), measure.low), measure.high) for row in rows]


def _cell(cell: Cell, rows: Sequence[Row], shown: bool, rules: OutputSpec) -> dict[str, Any]:
    result: dict[str, Any] = {**dict(zip(rules.by, cell, strict=True)), "suppressed": not shown}
    if not shown:
        return {**result, rules.count: None, **{measure.name: None for measure in rules.measures}, "steps": None}
    count = round_to(len(rows), 1, rules.count_base)
    steps = {measure.name: step(measure, count - rules.count_base // 2) for measure in rules.measures}
    for measure in rules.measures:
        total = measure.scale * sum(_clamped(rows, measure))
        result[measure.name] = round_to(total, len(rows), steps[measure.name])
    return {**result, rules.count: count, "steps": steps}


def round_to(numerator: int, denominator: int, base: int) -> int:
    """The multiple of ``base`` nearest to ``numerator / denominator``; ties towards plus infinity. Exact."""
    return (2 * numerator + denominator * base) // (2 * denominator * base) * base


def step(measure: Measure, persons: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, … that is at least one of ``persons`` persons' hold on the mean."""
    reach = measure.scale * (measure.high - measure.low)
    decade = 1
    while True:
        for factor in (1, 2, 5):
            if factor * decade * persons >= reach:
                return factor * decade
        decade *= 10


def _differs_by_too_few(new: Mapping[Cell, frozenset[str]], earlier: Sequence[CellContributors], k: int) -> bool:
    """Rule 6, both ways: a new cell against unions of an earlier release's cells, and the reverse."""
    releases: dict[str, list[frozenset[str]]] = defaultdict(list)
    for one in earlier:
        releases[one.release_id].append(one.contributors)
    fresh = list(new.values())
    return any(
        _too_close(cell, others, k)
        for old in releases.values()
        for cells, others in ((fresh, old), (old, fresh))
        for cell in cells
    )


def _too_close(cell: frozenset[str], others: Sequence[frozenset[str]], k: int) -> bool:
    """Whether ``cell`` is nearly one of ``others``, or nearly the union of those that lie (nearly) inside it."""
    inside = [other for other in others if not cell.isdisjoint(other) and len(other - cell) < k]
    candidates = [*inside, frozenset[str]().union(*inside)] if inside else []
    return any(0 < len(cell ^ candidate) < k for candidate in candidates)
