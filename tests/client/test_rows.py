"""The server's differences and the client's way of applying them are one another's reverse."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync.client.incoming import Delta, Patch, Put, WireKey, decode
from entity_sync.client.rows import Misfit, applied
from entity_sync.client.state import Row
from entity_sync.core.delta import difference
from entity_sync.model import EntityKey
from tests.core.states import KEYS, STATES, Rows, loaded

OWN = EntityKey("reports", "1")


def shown(rows: Rows) -> tuple[Row, ...]:
    """What a client holds of a state."""
    named = [(key or OWN, data) for key, data in rows]
    return tuple(Row(key.entity, key.id, data) for key, data in named)


def received(found: Any) -> Delta:
    """The delta as it arrives."""
    message = {"event": "delta", "view": 1, "base": 1, "rev": 2, "version": "v", **found._asdict()}
    [delta] = decode(msgspec.json.encode(message).decode())
    assert isinstance(delta, Delta)
    return delta


@settings(deadline=None)
@given(STATES, STATES)
def test_any_state_becomes_any_other(old: Rows, new: Rows):
    """Whatever rows come, go, move and change: the client's rows are the server's."""
    assert applied(OWN, shown(old), received(difference(loaded(old), loaded(new)))) == shown(new)


def literally(rows: tuple[Row, ...], delta: Delta) -> list[tuple[str, str, Any]]:
    """PROTOCOL.md's words one by one, however long it takes; an error where it is a misfit."""
    held = [(row.entity, row.id, row.data) for row in rows]

    def key(named: Any) -> tuple[str, str]:
        return (named.entity or OWN.entity, named.id or OWN.id)

    def place(named: Any) -> int:
        return [row[:2] for row in held].index(key(named))

    for named in delta.drop:
        del held[place(named)]
    for patch in delta.patch:
        at = place(patch)
        kept = {name: value for name, value in held[at][2].items() if name not in patch.unset}
        held[at] = (*key(patch), kept | patch.set_)
    for put in delta.put:
        is_held = key(put) in [row[:2] for row in held]
        if is_held and put.at is None:
            held[place(put)] = (*key(put), put.data)
            continue
        if is_held:
            del held[place(put)]
        at = len(held) if put.at is None else put.at
        if at > len(held):
            raise IndexError
        held.insert(at, (*key(put), put.data))
    return [held[place(named)] for named in delta.order] if delta.order else held


NAMED = st.sampled_from([WireKey() if key is None else WireKey(*key) for key in KEYS[:6]])
PATCHES = st.builds(
    lambda named, names: Patch(named.entity, named.id, dict.fromkeys(names, 1), ("a",)),
    NAMED,
    st.sets(st.sampled_from("bc")),
)
PUTS = st.builds(
    lambda named, data, at: Put({"a": data}, named.entity, named.id, at),
    NAMED,
    st.integers(0, 9),
    st.none() | st.integers(0, 7),
)
DELTAS = st.builds(
    lambda drop, patch, put: Delta(1, 1, 2, "v", drop=tuple(drop), patch=tuple(patch), put=tuple(put)),
    st.lists(NAMED, max_size=2),
    st.lists(PATCHES, max_size=3),
    st.lists(PUTS, max_size=6),
)
HELD = st.lists(st.sampled_from(KEYS[:6]), unique=True).map(
    lambda keys: shown([(key, {"a": 0}) for key in keys])
)


@settings(deadline=None, max_examples=500)
@given(HELD, DELTAS)
def test_what_the_protocol_says(rows: tuple[Row, ...], delta: Delta):
    """Also of deltas as no server makes them: keys named twice, moved and replaced, or not held."""
    try:
        expected = literally(rows, delta)
    except (ValueError, IndexError):
        with pytest.raises(Misfit):
            applied(OWN, rows, delta)
    else:
        assert [(row.entity, row.id, row.data) for row in applied(OWN, rows, delta)] == expected


class Counted(Row):
    """A row that counts how often it is looked at."""

    __slots__ = ()
    looks: ClassVar[int] = 0

    def __getattribute__(self, name: str) -> Any:
        Counted.looks += 1
        return super().__getattribute__(name)


SIZE = 2_000
MANY = [WireKey("orders", str(id)) for id in range(SIZE)]


@pytest.mark.parametrize(
    "changes",
    [
        {"drop": tuple(MANY[SIZE // 3 :])},
        {"patch": tuple(Patch(key.entity, key.id, {"a": 1}) for key in reversed(MANY))},
        {"put": tuple(Put({"a": 1}, key.entity, key.id) for key in MANY)},
        {"put": tuple(Put({"a": 1}, "users", key.id, 2 * at) for at, key in enumerate(MANY))},
        {"order": tuple(reversed(MANY))},
        {
            "drop": tuple(MANY[::2]),
            "patch": tuple(Patch(key.entity, key.id, {"a": 1}) for key in MANY[1::2]),
            "put": tuple(Put({"a": 1}, "users", key.id) for key in MANY),
        },
    ],
    ids=["drop", "patch", "replace", "insert", "order", "together"],
)
def test_each_row_is_looked_at_a_few_times(changes: dict[str, Any]):
    """However many of them change: the work grows with rows and changes, not with their product."""
    rows = tuple(Counted(key.entity or "", key.id or "", {"a": 0}) for key in MANY)
    Counted.looks = 0
    applied(OWN, rows, Delta(1, 1, 2, "v", **changes))
    assert SIZE <= Counted.looks <= 10 * SIZE
