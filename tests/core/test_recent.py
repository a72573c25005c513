"""What a load may have missed of the rows it found only now."""

from __future__ import annotations

from typing import Any

import pytest

from entity_sync.core.loaded import Loaded, LoadedRow
from entity_sync.core.recent import Recent
from entity_sync.core.tags import Reading, canonical_tags, reading
from entity_sync.model import Change, EntityKey, Reads, Tags

AUTHOR = EntityKey("users", "9")
READ = Reading("orders", (("customer", frozenset({"7"})),))
ROWS = Loaded((LoadedRow(b"1", b"1", AUTHOR),))
LIVE = Loaded((), reads=(READ,))


def overtaken(recent: Recent, loaded: Loaded, moment: int) -> bool:
    return recent.concerns(loaded, moment, frozenset(), ())


def causes(recent: Recent, *what: Any) -> tuple[list[str], ...]:
    """The tokens of what is noted, before a moment and after it."""
    return tuple([token for _, change in part for token in change.causes] for part in recent.noted(*what))


def test_a_change_during_the_load():
    """The row changed after the load began: it may hold the old one. Before it began: it cannot."""
    recent = Recent()
    recent.note(Change(AUTHOR))
    assert not overtaken(recent, ROWS, recent.moment)
    began = recent.moment
    recent.note(Change(EntityKey("users", "8")))
    assert not overtaken(recent, ROWS, began)
    recent.note(Change(AUTHOR))
    assert overtaken(recent, ROWS, began)


def test_what_was_watched_already():
    """A row that the view held before was watched during the load: its change triggered one already."""
    recent = Recent()
    recent.note(Change(AUTHOR))
    assert not recent.concerns(ROWS, 0, frozenset({AUTHOR}), ())
    recent.note(Change(EntityKey("orders", "1")))
    assert not recent.concerns(LIVE, 0, frozenset(), (READ,))


def test_many_live_queries_in_one_list(monkeypatch: pytest.MonkeyPatch):
    """One that reads for each of its rows: they are looked up, not compared with one another."""
    reads = tuple(Reading("orders", (("customer", frozenset({str(n)})),)) for n in range(500))
    again = tuple(Reading(read.entity, read.tags) for read in reads)
    compared = 0
    equal = Reading.__eq__

    def counted(one: Reading, other: object) -> bool:
        nonlocal compared
        compared += 1
        return equal(one, other)

    monkeypatch.setattr(Reading, "__eq__", counted)
    assert not Recent().concerns(Loaded((), reads=again), 0, frozenset(), reads)
    assert compared <= 2 * len(reads)


def test_a_load_that_finds_many_live_queries(monkeypatch: pytest.MonkeyPatch):
    """Whether a change of meanwhile concerns them is looked up: not each compared with each."""
    recent, asked = Recent(), list[Reading]()
    concerns = Reading.concerns

    def counted(read: Reading, tags: Tags | None) -> bool:
        asked.append(read)
        return concerns(read, tags)

    monkeypatch.setattr(Reading, "concerns", counted)
    found = Loaded((), reads=tuple(reading(Reads("prices", product=number)) for number in range(300)))
    for number in range(300):
        recent.note(
            Change(EntityKey("prices", str(number)), tags=canonical_tags({"product": 1_000 + number}))
        )
    assert not recent.concerns(found, 0, frozenset(), ())
    assert len(asked) <= 300
    recent.note(Change(EntityKey("prices", "7"), tags=canonical_tags({"product": [7, 1_000]})))
    assert recent.concerns(found, 0, frozenset(), ())
    assert not recent.concerns(found, recent.moment, frozenset(), ())


def test_live_queries_by_their_tags():
    """Another customer's order does not concern this live query; one without tags concerns all."""
    recent = Recent()
    recent.note(Change(EntityKey("orders", "1"), tags={"customer": frozenset({"8"})}))
    assert not overtaken(recent, LIVE, 0)
    recent.note(Change(EntityKey("orders", "1"), tags={"customer": frozenset({"7", "8"})}))
    assert overtaken(recent, LIVE, 0)
    assert overtaken(recent, Loaded((), reads=(Reading("orders"),)), 0)


def test_what_was_forgotten_counts():
    """A full memory forgets the oldest; a load that began before them may have missed anything."""
    recent = Recent(limit=2)
    for id in ("1", "2", "3"):
        recent.note(Change(EntityKey("users", id)))
    assert overtaken(recent, ROWS, 0)
    assert not overtaken(recent, ROWS, 1)


def test_whether_a_key_changed():
    """A key changed if a change of it was noted, or if one may have been forgotten, since that moment."""
    recent = Recent(limit=1)
    assert not recent.changed(AUTHOR, 0)
    recent.note(Change(EntityKey("users", "8")))
    assert not recent.changed(AUTHOR, 0)
    recent.note(Change(AUTHOR))
    assert recent.changed(AUTHOR, 1)
    assert not recent.changed(AUTHOR, 2)
    recent.note(Change(EntityKey("users", "8")))
    assert recent.changed(AUTHOR, 1)
    recent.note_all(["orders"])
    assert not recent.changed(AUTHOR, 3)
    recent.note_all(["users"])
    assert recent.changed(AUTHOR, 4)


def test_a_gap_counts():
    """After a gap any row of the entity may have changed; of others none."""
    recent = Recent()
    recent.note_all(["orders"])
    assert not overtaken(recent, ROWS, 0)
    assert overtaken(recent, LIVE, 0)
    recent.note_all(["users"])
    assert overtaken(recent, ROWS, 0)
    assert not overtaken(recent, ROWS, recent.moment)


NO_KEYS: frozenset[EntityKey] = frozenset()


def test_causes_of_keys():
    """Their own tokens alone, in the order of the changes, those noted up to a moment and those after it."""
    recent = Recent()
    one, other, user = EntityKey("items", "1"), EntityKey("items", "2"), EntityKey("users", "1")
    recent.note(Change(one, causes=("a", "b")))
    recent.note(Change(other, causes=("x",)))
    moment = recent.moment
    recent.note(Change(user, causes=("c",)))
    recent.note(Change(one, causes=("d",)))
    assert causes(recent, {one}, (), moment) == (["a", "b"], ["d"])
    assert causes(recent, {one, user, other}, (), moment) == (["a", "b", "x"], ["c", "d"])
    assert causes(recent, {EntityKey("users", "2")}, (), moment) == ([], [])


def test_causes_of_live_queries():
    """Those of changes that concern one of them; one that concerns a key as well is told once."""
    recent = Recent()
    order = EntityKey("orders", "1")
    recent.note(Change(order, tags={"customer": frozenset({"7"})}, causes=("a",)))
    recent.note(Change(order, tags={"customer": frozenset({"8"})}, causes=("x",)))
    recent.note(Change(AUTHOR, causes=("y",)))
    moment = recent.moment
    recent.note(Change(order, causes=("b",)))
    assert causes(recent, NO_KEYS, (READ,), moment) == (["a"], ["b"])
    assert causes(recent, {order}, (READ, Reading("cities")), moment) == (["a", "x"], ["b"])
    assert causes(recent, NO_KEYS, (Reading("users"), READ), moment) == (["a", "y"], ["b"])


def test_causes_that_were_forgotten():
    """Neither a full memory nor a gap leaves anything of a key behind that was forgotten."""
    recent = Recent(limit=2)
    for token in "abc":
        recent.note(Change(AUTHOR, causes=(token,)), now=float(ord(token)))
    assert causes(recent, {AUTHOR}, (), 0) == ([], ["b", "c"])
    assert recent.of(AUTHOR) == [(98.0, Change(AUTHOR, causes=("b",))), (99.0, Change(AUTHOR, causes=("c",)))]
    for id in ("1", "2"):
        recent.note(Change(EntityKey("users", id)))
    assert causes(recent, {AUTHOR}, (), 0) == ([], [])
    recent.note(Change(AUTHOR, causes=("d",)))
    recent.note_all(["users"])
    assert causes(recent, {AUTHOR}, (), 0) == ([], [])
    assert recent.of(AUTHOR) == []
    recent.note(Change(AUTHOR, causes=("e",)))
    assert causes(recent, {AUTHOR}, (), 0) == ([], ["e"])


def test_when_what_is_remembered_was_noted():
    """Each change with the seconds of its clock."""
    recent = Recent()
    first, second = Change(AUTHOR, causes=("a",)), Change(AUTHOR)
    recent.note(first, 5.0)
    moment = recent.moment
    recent.note(second, 6.0)
    assert recent.noted({AUTHOR}, (), moment) == ([(5.0, first)], [(6.0, second)])
