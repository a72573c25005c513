"""Random states of a view: rows with keys, in an order, of any data."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from entity_sync.core.canonical import canonical
from entity_sync.core.loaded import Loaded, LoadedRow
from entity_sync.model import EntityKey

Rows = list[tuple[EntityKey | None, Any]]


def loaded(rows: Rows) -> Loaded:
    """The state of these rows."""
    return Loaded(tuple(LoadedRow(canonical(data), b"", key) for key, data in rows))


KEYS = [None, *(EntityKey("orders", str(id)) for id in range(14))]
VALUES = st.one_of(st.none(), st.booleans(), st.integers(0, 9), st.text("ab", max_size=3))
DATA = st.one_of(VALUES, st.lists(VALUES, max_size=2), st.dictionaries(st.sampled_from("abcdef"), VALUES))
STATES = st.permutations(KEYS).flatmap(
    lambda keys: st.lists(DATA, max_size=len(keys)).map(lambda data: list(zip(keys, data, strict=False)))
)
