"""In what two states differ, by name."""

from __future__ import annotations

import pytest

from entity_sync.core.differing import differing
from entity_sync.core.loaded import Loaded
from entity_sync.model import EntityKey
from tests.core.states import Rows, loaded

NINE, TEN = EntityKey("users", "9"), EntityKey("users", "10")


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ([(None, {"a": 1, "b": 2, "c": [1]})], [(None, {"a": 1, "b": 3, "c": [2]})], ("b", "c")),
        ([(None, {"a": 1, "b": None})], [(None, {"a": 1, "d": None})], ("b", "d")),
        ([(None, {"a": 1}), (NINE, 1)], [(None, {"a": 1}), (NINE, 2)], ("users/9",)),
        ([(None, {"a": 1}), (NINE, 1)], [(None, {"a": 2}), (TEN, 1)], ("a", "users/10", "users/9")),
        ([(NINE, 1), (TEN, 1)], [(TEN, 1), (NINE, 1)], ()),
        ([(None, 1)], [(None, 2)], ()),
        ([(None, 1)], [(None, {"a": 1})], ("a",)),
    ],
)
def test_names(old: Rows, new: Rows, names: tuple[str, ...]):
    """Members of the view's own row, keys of the others, and nothing for what has no name."""
    assert differing(loaded(old), loaded(new)) == names


def test_names_of_what_is_gone():
    """Of a row that is gone, or is there again, all members differ."""
    row, gone = loaded([(None, {"a": 1, "b": 2})]), Loaded((), gone=True)
    assert differing(row, gone) == differing(gone, row) == ("a", "b")
