"""Differences between states: whatever was before, applied to it they give what is after."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entity_sync.core import delta
from entity_sync.core.delta import Difference, difference
from entity_sync.core.loaded import Loaded
from entity_sync.model import EntityKey
from tests.core.states import STATES, Rows, loaded


def applied(found: Difference, rows: Rows) -> Rows:
    """What PROTOCOL.md says a client does, as plainly as it can be written."""
    wire = msgspec.json.decode(msgspec.json.encode(found._asdict()))

    def key(one: dict[str, Any]) -> EntityKey | None:
        return EntityKey(one["entity"], one["id"]) if "entity" in one else None

    held = [(of, data) for of, data in rows if of not in [key(one) for one in wire["drop"]]]
    for patch in wire["patch"]:
        [(place, old)] = [(place, data) for place, (of, data) in enumerate(held) if of == key(patch)]
        new = {name: value for name, value in old.items() if name not in patch.get("unset", ())}
        held[place] = (key(patch), new | patch.get("set", {}))
    for put in wire["put"]:
        places = [place for place, (of, _) in enumerate(held) if of == key(put)]
        if places and "at" not in put:
            held[places[0]] = (key(put), put["data"])
            continue
        held = [(of, data) for of, data in held if of != key(put)]
        held.insert(put.get("at", len(held)), (key(put), put["data"]))
    if wire["order"]:
        assert sorted(map(str, map(key, wire["order"]))) == sorted(str(of) for of, _ in held)
        held.sort(key=lambda row: [key(one) for one in wire["order"]].index(row[0]))
    return held


@given(STATES, STATES)
def test_old_and_difference_give_new(old: Rows, new: Rows):
    """Every two states: drops, patches, puts and order bring one to the other."""
    found = difference(loaded(old), loaded(new))
    assert found is not None
    assert applied(found, old) == new


@given(STATES, STATES, st.integers(0, 3), st.integers(0, 3))
def test_ends_that_are_alike(old: Rows, new: Rows, head: int, tail: int):
    """Rows that stand at both ends in both, whose data may differ, beside whatever happens between them."""

    def around(rows: Rows, datum: Any) -> Rows:
        heads: Rows = [(EntityKey("heads", str(at)), [at, datum]) for at in range(head)]
        tails: Rows = [(EntityKey("tails", str(at)), {"at": at, "n": datum}) for at in range(tail)]
        return [*heads, *rows, *tails]

    for datum in (1, 2):
        found = difference(loaded(around(old, 1)), loaded(around(new, datum)))
        assert found is not None
        assert applied(found, around(old, 1)) == around(new, datum)


@given(STATES, st.data())
def test_few_moves_name_few_rows(rows: Rows, data: st.DataObject):
    """One row that moved is sent again alone, however many there are."""
    if len(rows) < 2:
        return
    moved = list(rows)
    row = moved.pop(data.draw(st.integers(0, len(rows) - 1)))
    moved.insert(data.draw(st.integers(0, len(moved))), row)
    found = difference(loaded(rows), loaded(moved))
    assert found is not None
    assert len(found.put) <= 1
    assert not found.order
    assert applied(found, rows) == moved


def test_many_moves_are_an_order():
    """A list turned around names every key once and sends no row."""
    rows: Rows = [(EntityKey("orders", str(id)), {"id": id, "name": "n" * 40}) for id in range(20)]
    found = difference(loaded(rows), loaded(rows[::-1]))
    assert found is not None
    assert (found.drop, found.patch, found.put, len(found.order)) == ((), (), (), 20)


def test_up_to_eight_rows_are_moved_one_by_one():
    """Eight rows that moved are sent again, each with its place; of nine, every key is named in order."""
    rows: Rows = [(EntityKey("orders", str(id)), {"id": id}) for id in range(20)]
    for moves, put, order in ((8, 8, 0), (9, 0, 20)):
        found = difference(loaded(rows), loaded(rows[moves:] + rows[:moves]))
        assert found is not None
        assert (len(found.put), len(found.order)) == (put, order)


def test_a_new_row_at_the_end_needs_no_place():
    """What is appended says no place, what is inserted before another row does."""
    rows: Rows = [(EntityKey("orders", str(id)), {"id": id}) for id in range(3)]
    found = difference(loaded(rows[1:2]), loaded(rows))
    assert found is not None
    assert [put.at for put in found.put] == [0, msgspec.UNSET]


class Counted(EntityKey, frozen=True, gc=False):
    """A key that counts how often it is compared with another."""

    compared = 0

    def __hash__(self) -> int:
        return hash(EntityKey(self.entity, self.id))

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return isinstance(other, EntityKey) and tuple(self) == tuple(other)

    def __ne__(self, other: object) -> bool:
        return not self == other


def test_places_beside_a_move():
    """A new row before the last one has its place although another moved; one at the end needs none."""

    def rows(*ids: int) -> Rows:
        return [(EntityKey("orders", str(id)), {"id": id, "name": "n" * 40}) for id in ids]

    for new, places in ((rows(3, 1, 9, 2), [0, 2]), (rows(3, 1, 2, 9), [0, msgspec.UNSET])):
        found = difference(loaded(rows(1, 2, 3)), loaded(new))
        assert found is not None
        assert [put.at for put in found.put] == places
        assert applied(found, rows(1, 2, 3)) == new


def test_a_move_among_many_inserts_is_no_search():
    """Of 900 rows 300 are new and one moved: no row is looked for in the list, at 150,000 comparisons."""
    rows: Rows = [(Counted("orders", str(id)), {"id": id}) for id in range(900)]
    old = [row for number, row in enumerate(rows) if number % 3]
    old.insert(0, old.pop(300))
    Counted.compared = 0
    found = difference(loaded(old), loaded(rows))
    assert Counted.compared < 10_000
    assert found is not None
    assert len(found.put) == 301
    assert applied(found, old) == rows


def test_what_stays_costs_little(monkeypatch: pytest.MonkeyPatch):
    """Where no row moved none is placed, and where none came or went no place is worked out."""
    rows: Rows = [(EntityKey("orders", str(id)), {"id": id, "x": "x" * 40}) for id in range(20)]
    changed: Rows = [*rows[:5], (rows[5][0], {"id": 5, "x": "x" * 40, "n": 1}), *rows[6:]]
    monkeypatch.setattr(delta, "bisect_left", None)
    monkeypatch.setattr(delta, "_put", None)
    found = difference(loaded(rows), loaded(changed))
    assert found is not None
    assert (found.drop, len(found.patch), found.put, found.order) == ((), 1, (), ())


def test_members_that_changed_alone_are_sent():
    """Of twenty members one: nulls, removed members and equal ones are told apart."""
    old = {f"member{number}": number for number in range(20)}
    new = {name: value for name, value in old.items() if name != "member4"} | {"member3": None}
    found = difference(loaded([(None, old)]), loaded([(None, new)]))
    assert found is not None
    assert msgspec.json.encode(found.patch) == b'[{"set":{"member3":null},"unset":["member4"]}]'


@pytest.mark.parametrize("is_gone_first", [True, False])
def test_gone_has_no_difference(is_gone_first: bool):
    """Whether a key exists is told by a snapshot."""
    states = Loaded((), gone=True), loaded([(None, 1)])
    assert difference(*(states if is_gone_first else states[::-1])) is None
