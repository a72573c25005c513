"""Views found by key and audience."""

from __future__ import annotations

from itertools import count
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from entity_sync.core.index import Index, spelled
from entity_sync.core.loaded import Loaded, LoadedRow
from entity_sync.core.tags import Reading, canonical_tags, reading
from entity_sync.core.view import View
from entity_sync.model import Audience, Change, EntityKey, Reads, Tags


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


PLAIN = st.none() | st.booleans() | st.integers() | st.text() | st.uuids()
AUDIENCES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)


@given(AUDIENCES, AUDIENCES)
@example(1, True)
@example((1,), 1)
@example(("a", "b"), ("a','b",))
@example(((),), ())
def test_one_text_for_each_audience(first: Audience, second: Audience):
    """Two audiences have one text only if they are equal, types and all."""
    is_same = first == second and repr(first) == repr(second)
    assert (spelled(first) == spelled(second)) is is_same


class Masked(str):
    """A str that shows nobody what it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@pytest.mark.parametrize("audience", [Masked("ann"), (Masked("ann"),), 1.5, frozenset(), object()])
def test_audiences_without_a_text(audience: Audience):
    """What could be spelled as another's has no text, so it has no view."""
    with pytest.raises(TypeError, match="an audience is a plain value, not a "):
        spelled(audience)


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


def found(read: list[Reading], change: Change) -> int:
    """How many views a change finds, of one that read these."""
    index = Index(lambda: 1)
    index.depend(index.open(EntityKey("reports", "1"), ()), Loaded((), reads=tuple(read)))
    return len(index.depending(change))


def test_all_tags_have_to_fit():
    """A row of the customer that was asked for, in another state, concerns no live query of the open ones."""
    read = Reading("orders", (("customer", frozenset("7")), ("status", frozenset({"open"}))))
    key = EntityKey("orders", "1")
    paid = Change(key, tags={"customer": frozenset("7"), "status": frozenset({"paid"})})
    assert found([read], paid) == 0
    assert found([read, Reading("users", (("name", frozenset("a")),))], paid) == 0
    assert found([read], Change(key, tags={"customer": frozenset("7"), "status": frozenset({"open"})})) == 1
    assert found([read], Change(key, tags={"customer": frozenset("7")})) == 1
    assert found([read], Change(key)) == 1


def test_who_fits_one_tag_is_asked_for_the_other():
    """Who shares one value of a change need not share the other; nobody is asked where one tag decides."""
    asked: list[Reading] = []
    numbers = count(1)
    index = Index(lambda: next(numbers))
    views = [index.open(EntityKey("reports", str(number)), ()) for number in range(3)]
    index.depend(views[0], Loaded((), reads=(reading(Reads("orders", customer=7, status="open")),)))
    index.depend(views[1], Loaded((), reads=(reading(Reads("orders", customer=8, status="paid")),)))
    index.depend(views[2], Loaded((), reads=(reading(Reads("users", customer=7)),)))
    concerns = Reading.concerns

    def counting(read: Reading, tags: Tags | None) -> bool:
        asked.append(read)
        return concerns(read, tags)

    with patch.object(Reading, "concerns", counting):
        for entity, tags, found in (
            ("orders", {"customer": 7, "status": "paid"}, []),
            ("orders", {"customer": 7, "status": "open"}, views[:1]),
            ("orders", {"customer": [7, 8], "status": ["open", "paid"]}, views[:2]),
        ):
            change = Change(EntityKey(entity, "1"), tags=canonical_tags(tags))
            assert list(index.depending(change)) == found
        asked.clear()
        for entity, said, found in (
            ("orders", {"customer": 7}, views[:1]),
            ("orders", {"customer": 7, "color": "red"}, views[:1]),
            ("orders", {"color": "red"}, views[:2]),
            ("orders", None, views[:2]),
            ("users", {"customer": 7}, views[2:]),
        ):
            change = Change(EntityKey(entity, "1"), tags=None if said is None else canonical_tags(said))
            assert list(index.depending(change)) == found
        assert asked == []


def test_a_change_asks_few(monkeypatch: pytest.MonkeyPatch):
    """However many share one value of a tag, whatever its name: who shares the rarest value is asked."""
    asked: list[Reading] = []
    concerns = Reading.concerns

    def counting(read: Reading, tags: Tags | None) -> bool:
        asked.append(read)
        return concerns(read, tags)

    monkeypatch.setattr(Reading, "concerns", counting)
    numbers = count(1)
    index = Index(lambda: next(numbers))
    for id in range(200):
        reads = [Reads("orders", a=True, customer=id, z=True)]
        if id < 3:
            reads += Reads("orders", a=True), Reads("users", customer=7)
        loaded = Loaded((), reads=tuple(map(reading, reads)))
        index.depend(index.open(EntityKey("reports", str(id)), ()), loaded)
    key = EntityKey("orders", "1")
    for tags, views, most in (
        ({"a": True, "customer": 7, "z": True}, 4, 8),
        ({"a": False, "customer": 7}, 0, 0),
        ({"customer": [7, 8]}, 5, 10),
        ({"z": True}, 200, 210),
    ):
        asked.clear()
        assert len(index.depending(Change(key, tags=canonical_tags(tags)))) == views
        assert len(asked) <= most


def test_a_view_is_found_once():
    """A view that holds the row and read it too is found as one."""
    index = Index(lambda: 1)
    key = EntityKey("orders", "1")
    view = index.open(EntityKey("reports", "1"), ())
    index.depend(view, Loaded((LoadedRow(b"1", b"1", key),), reads=(Reading("orders"),)))
    assert list(index.depending(Change(key))) == [view]


def test_what_a_view_depends_on_is_one_object_until_it_changes():
    """Each load finds equal keys; ten thousand new sets at once would bring a full collection about."""
    index = Index(lambda: 1)
    one = index.open(EntityKey("reports", "1"), ())
    states = [Loaded((LoadedRow(b"1", b"1", EntityKey("users", id)),)) for id in "112"]
    for state in states:
        index.depend(one, state)
        assert one.rows is state.dependencies
    assert states[0].dependencies is states[1].dependencies
    assert states[1].dependencies != states[2].dependencies


def test_a_view_does_not_depend_on_its_own_key():
    """A change of it loads the view anyway, and once: a load may have found that there is no such row."""
    index, key = Index(lambda: 1), EntityKey("reports", "1")
    view = index.open(key, ())
    index.depend(view, Loaded((), gone=True, absent=frozenset({key, EntityKey("users", "1")})))
    assert not index.depending(Change(key))
    assert list(index.depending(Change(EntityKey("users", "1")))) == [view]


READS = st.builds(
    Reading,
    st.sampled_from(["orders", "users"]),
    st.dictionaries(
        st.sampled_from(["customer", "status"]), st.frozensets(st.sampled_from("123"), max_size=2)
    ).map(lambda tags: tuple(sorted(tags.items()))),
)
ROWS = st.sets(st.builds(EntityKey, st.sampled_from(["orders", "users"]), st.sampled_from("ab")), max_size=3)
RESULTS = st.none() | st.builds(
    lambda rows, reads: Loaded(tuple(LoadedRow(b"1", b"1", key) for key in rows), reads=tuple(reads)),
    ROWS,
    st.lists(READS, max_size=3),
)
CHANGES = st.builds(
    Change,
    st.builds(EntityKey, st.sampled_from(["orders", "users"]), st.sampled_from("ab")),
    st.none(),
    st.none()
    | st.dictionaries(st.sampled_from(["customer", "status"]), st.frozensets(st.sampled_from("123"))),
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), RESULTS), max_size=12), CHANGES)
def test_a_change_finds_what_depends_on_it(deeds: list[tuple[int, Loaded | None]], change: Change):
    """Whatever views found and read before: a look-up finds what asking each of them would find."""
    numbers = count(1)
    index = Index(lambda: next(numbers))
    views = [index.open(EntityKey("reports", str(number)), ()) for number in range(4)]
    newest: dict[View, Loaded | None] = {}
    for number, loaded in deeds:
        index.depend(views[number], loaded)
        newest[views[number]] = loaded

    def depends(loaded: Loaded | None, *, on_nothing: bool) -> bool:
        """Whether it does; a live query of a tag without values may be found or not: it found nothing."""
        if loaded is None:
            return False
        reads = [read for read in loaded.reads if on_nothing or all(values for _, values in read.tags)]
        return change.key in loaded.dependencies or any(
            read.entity == change.key.entity and read.concerns(change.tags) for read in reads
        )

    found = index.depending(change)
    assert {view for view, loaded in newest.items() if depends(loaded, on_nothing=False)} <= set(found)
    assert set(found) <= {view for view, loaded in newest.items() if depends(loaded, on_nothing=True)}
    for view in views:
        index.close(view)
    assert not index.depending(change)
    assert not index._by_row
    assert not index._reads
