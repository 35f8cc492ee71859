"""Our encoder against the ``rfc8785`` package: the same bytes, or both refuse."""

from __future__ import annotations

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from dataspace.kernel.encoding import canonical, parse_canonical
from dataspace.kernel.errors import DataspaceError, MalformedError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_same_bytes_as_the_package(value: object) -> None:
    assert canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_round_trip(value: dict[str, object]) -> None:
    assert parse_canonical(canonical(value)) == value


def test_keys_above_the_basic_plane_are_sorted_as_utf16() -> None:
    value = {"\uff61": 1, "\U00010000": 2}
    assert canonical(value) == rfc8785.dumps(value)
    assert list(parse_canonical(canonical(value))) == ["\U00010000", "\uff61"]


@pytest.mark.parametrize("value", [1.0, float("nan"), {1: 2}, {"a": 2**53}, "\ud800", object(), {"a": {2}}])
def test_what_has_no_place_is_refused(value: object) -> None:
    with pytest.raises(MalformedError):
        canonical(value)


def test_endless_nesting_is_refused() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(DataspaceError):
        canonical(deep)
