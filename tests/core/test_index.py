"""Views found by key and audience."""

from __future__ import annotations

from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync.core.index import Index
from entity_sync.core.view import View
from entity_sync.model import Audience, EntityKey


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from("abc"), st.sampled_from([(), "x", "y"])), max_size=30)
)
def test_like_a_dictionary(deeds: list[tuple[bool, str, Audience]]):
    """Opening and closing in any order finds the same views as a dictionary by (key, audience)."""
    numbers = count(1)
    index = Index(lambda: next(numbers))
    model: dict[tuple[EntityKey, Audience], View] = {}
    for is_open, id, audience in deeds:
        key = EntityKey("items", id)
        if is_open:
            model.setdefault((key, audience), index.open(key, audience))
            assert index.open(key, audience) is model[key, audience]
        elif (key, audience) in model:
            index.close(model.pop((key, audience)))
        assert len(index) == len(model)
        assert set(index) == set(model.values())
        for one in (EntityKey("items", "a"), EntityKey("items", "b"), EntityKey("items", "c")):
            assert set(index.of(one)) == {view for (held, _), view in model.items() if held == one}


def test_numbers_are_unique():
    """A number that is drawn twice is drawn again."""
    drawn = iter([7, 7, 7, 8])
    index = Index(lambda: next(drawn))
    first, second = index.open(EntityKey("a", "1"), ()), index.open(EntityKey("a", "2"), ())
    assert (first.number, second.number) == (7, 8)


def test_newest_first():
    """Iteration begins with the view that was opened last."""
    numbers = count(1)
    index = Index(lambda: next(numbers))
    views = [index.open(EntityKey("a", id), ()) for id in "123"]
    assert list(index) == views[::-1]
