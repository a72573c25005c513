"""Equal values, equal bytes; what would be changed in silence is refused by name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync.core.canonical import GONE_VERSION, canonical, version_of
from entity_sync.errors import LoadFailed

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(JSON)
def test_round_trip(value: Any):
    """Canonical JSON decodes to the value it was made of."""
    assert msgspec.json.decode(canonical(value)) == value


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.integers(0, 9), min_size=2))
def test_order_of_members_is_nothing(value: dict[str, int]):
    """The order in which members were added does not show."""
    assert canonical(dict(reversed(value.items()))) == canonical(value)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"a": [1, {"q": float("nan")}]}, r"field 'a\[1\]\.q' is nan"),
        ({"a": float("-inf")}, "field 'a' is -inf"),
        ({"big": 2**53}, "field 'big' is an integer beyond"),
        (-(2**53), "the value is an integer beyond"),
        ({"a": ["é", "\ud800"]}, r"field 'a\[1\]' holds a lone surrogate"),
        ({"a": {"\udfff": 1}}, "field 'a' holds a lone surrogate"),
    ],
)
def test_unsendable_is_named(value: Any, error: str):
    """NaN, infinities, lone surrogates and integers that JavaScript rounds are refused, naming the field."""
    with pytest.raises(LoadFailed, match=error):
        canonical(value)


@pytest.mark.parametrize("integer", [2**53 - 1, -(2**53) + 1])
def test_largest_integers(integer: int):
    """The largest integers that JavaScript reads back are sent as they are."""
    assert canonical({"n": integer}) == b'{"n":%d}' % integer


WRAPPERS: list[Callable[[Any], Any]] = [lambda inner: [inner], lambda inner: {"a": inner}]


@pytest.mark.parametrize("wrap", WRAPPERS, ids=["lists", "dicts"])
def test_too_deep_is_refused(wrap: Callable[[Any], Any]):
    """Nesting deeper than 64 is refused, naming where; 64 is not."""
    value: Any = 1
    for _ in range(64):
        value = wrap(value)
    canonical(value)
    with pytest.raises(LoadFailed, match=r"^field '.*' is nested deeper than 64"):
        canonical(wrap(value))


def test_version_tells_rows_apart():
    """The version depends on every row, on their order and on where one ends."""
    versions = {version_of(rows) for rows in ([], [b"1"], [b"12"], [b"1", b"2"], [b"2", b"1"])}
    assert len(versions | {GONE_VERSION}) == 6
    assert {len(version) for version in versions} == {22}


@pytest.mark.parametrize("value", ["{'b': 1, 'a': {'d': 2, 'c': 3}}", "{'x': {'p', 'q', 'r'}}"])
def test_independent_of_the_hash_seed(value: str):
    """The same value has the same version in processes with different PYTHONHASHSEEDs."""
    program = f"from entity_sync.loading.values import loaded_row; print(loaded_row({value}).data.decode())"
    versions = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(versions) == 1
