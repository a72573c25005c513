"""Keys that wait for the broker."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync.core.backlog import Backlog
from entity_sync.model import Change, EntityKey, Origin, Source


def change(id: str, seq: int | None = None, entity: str = "items") -> Change:
    origin = None if seq is None else Origin(Source("p", "e"), seq)
    return Change(EntityKey(entity, id), origin)


def test_each_key_once_in_order():
    """A key that changes again keeps its place; the oldest are taken first."""
    backlog = Backlog(10)
    assert not backlog
    backlog.keep([change("1"), change("2"), change("1"), change("3")])
    assert len(backlog) == 3
    assert backlog.take(2) == ([], [change("1"), change("2")])
    assert backlog.take(2) == ([], [change("3")])
    assert not backlog


def test_a_number_that_was_given_is_kept():
    """A message that failed is handed over with its number again, also if its key changed meanwhile."""
    backlog = Backlog(10)
    backlog.keep([change("1", 7), change("2")])
    backlog.keep([change("1"), change("2", 8)])
    assert backlog.take(9) == ([], [change("1", 7), change("2", 8)])


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [(4, 5, 5), (5, 4, 5), (6, None, None), (None, 3, None), (None, None, None), (0, None, None)],
)
def test_the_revision_of_both(first: int | None, second: int | None, kept: int | None):
    """Of two changes of one key the higher one, whichever came last; none where one may be a deletion."""
    key = EntityKey("items", "1")
    in_turn, put_back = Backlog(10), Backlog(10)
    in_turn.keep([Change(key, revision=first), Change(key, revision=second)])
    put_back.keep([Change(key, revision=second)])
    put_back.put_back([Change(key, revision=first)])
    assert in_turn.take(9)[1] == put_back.take(9)[1] == [Change(key, revision=kept)]


def test_the_newest_eight_tokens_are_kept():
    """Changes that became one carry the tokens of the last eight notifies, each once, the newest last."""
    backlog = Backlog(10)
    key = EntityKey("items", "1")
    for number in (*range(10), 5):
        backlog.keep([Change(key, causes=(str(number),))])
    assert backlog.take(1)[1][0].causes == ("2", "3", "4", "5", "6", "7", "8", "9")


def test_changes_that_become_one_say_what_both_said():
    """The tags and tokens of both, the number of the earlier, the higher revision: kept or put back."""
    key, number = EntityKey("items", "1"), Origin(Source("p", "e"), 7)
    earlier = Change(key, number, {"kind": frozenset({"x"})}, ("a",), 4)
    later = Change(key, None, {"kind": frozenset({"y"})}, ("b",), 5)
    both = Change(key, number, {"kind": frozenset({"x", "y"})}, ("a", "b"), 5)
    kept, put_back = Backlog(10), Backlog(10)
    kept.keep([earlier, later])
    put_back.keep([later])
    put_back.put_back([earlier])
    assert kept.take(9) == put_back.take(9) == ([], [both])


def test_put_back_up_to_the_bound():
    """As many as may wait do."""
    backlog = Backlog(2)
    backlog.keep([change("2")])
    backlog.put_back([change("1")])
    assert backlog.take(9) == ([], [change("1"), change("2")])


def test_put_back_is_the_oldest_again():
    """What could not be published goes before what came meanwhile, with its number."""
    backlog = Backlog(10)
    backlog.keep([change("3"), change("1")])
    backlog.put_back([change("1", 7), change("2", 8)])
    assert backlog.take(9) == ([], [change("1", 7), change("2", 8), change("3")])


def test_putting_back_costs_what_is_put_back():
    """Of a hundred thousand keys that wait none is touched for those of one batch, or of none."""
    backlog = Backlog(10)
    backlog.keep([change("1"), change("2"), change("3")])
    waiting = list(backlog._kept.values())[1:]
    _, [first] = backlog.take(1)
    backlog.put_back([])
    backlog.put_back([first])
    assert [one.key.id for one in backlog._kept.values()] == ["1", "2", "3"]
    assert all(one is before for one, before in zip(backlog.take(9)[1][1:], waiting, strict=True))


def test_put_back_is_bounded_too():
    """What is put back may be one too many, and is not kept where its entity is ordered whole meanwhile."""
    backlog = Backlog(2)
    backlog.keep([change("1"), change("1", entity="users")])
    _, taken = backlog.take(2)
    backlog.keep([change("2"), change("3")])
    backlog.put_back(taken)
    assert backlog.take(9) == (["items"], [change("1", entity="users")])
    backlog.order(["users"])
    backlog.put_back([change("1", entity="users")])
    assert backlog.take(9) == (["users"], [])


def test_beyond_the_bound_an_entity_is_ordered_whole():
    """The entity with most keys gives its place to one order, which covers its later keys too."""
    backlog = Backlog(3)
    backlog.keep([change("1"), change("1", entity="users"), change("2"), change("3")])
    backlog.keep([change("4"), change("2", entity="users")])
    assert len(backlog) == 2
    assert backlog.take(9) == (["items"], [change("1", entity="users"), change("2", entity="users")])
    assert not backlog


def test_the_entity_that_came_first_is_not_the_largest():
    """It is the number of keys that counts, not which entity changed first."""
    backlog = Backlog(3)
    backlog.keep([change("1", entity="users"), change("1"), change("2"), change("3")])
    assert backlog.take(9) == (["items"], [change("1", entity="users")])


def test_no_time_left_for_keys():
    """One order for each entity says the same of however many keys."""
    backlog = Backlog(9)
    backlog.keep([change("1"), change("1", entity="users"), change("2")])
    backlog.order_all()
    assert backlog.take(9) == (["items", "users"], [])
    backlog.order_all()
    assert not backlog


def test_only_an_order_is_left():
    """An order alone keeps the backlog from being empty."""
    backlog = Backlog(1)
    backlog.order(["items"])
    assert backlog
    assert backlog.take(9) == (["items"], [])


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("123456")), max_size=40), st.integers(1, 5))
def test_bounded_and_complete(keys: list[tuple[str, str]], limit: int):
    """Never more keys than the bound; every key is kept, or its entity ordered whole."""
    backlog = Backlog(limit)
    for entity, id in keys:
        backlog.keep([change(id, entity=entity)])
        assert len(backlog) <= limit
    entities, kept = backlog.take(100)
    found = {one.key for one in kept}
    assert all(entity in entities or EntityKey(entity, id) in found for entity, id in keys)
