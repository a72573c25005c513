"""Keys that changed become numbered messages, by topic."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync.core.announce import Announcer
from entity_sync.core.change import MAX_BYTES, decode
from entity_sync.model import Change, EntityKey, Origin

KEYS = st.builds(EntityKey, st.sampled_from("abc"), st.text(st.characters(exclude_categories=["Cs"])))


@settings(deadline=None)
@given(st.lists(st.lists(KEYS, max_size=6), max_size=6))
def test_every_key_is_announced(calls: Sequence[Sequence[EntityKey]]):
    """Each key is one message on its entity's topic, numbered from 1 there, in order, across calls."""
    announcer = Announcer("p", "e")
    seqs: dict[str, int] = {}
    for keys in calls:
        expected: dict[str, list[Change]] = {}
        for key in keys:
            seqs[key.entity] = seqs.get(key.entity, 0) + 1
            change = Change(key, Origin("p", "e", seqs[key.entity]))
            expected.setdefault(key.entity, []).append(change)
        found = announcer.messages(keys)
        assert {topic: [decode(one) for one in bodies] for topic, bodies in found.items()} == expected


def test_a_life_is_told_by_its_epoch():
    """Two announcers number by themselves; the epoch is there to know one's own messages by."""
    key = EntityKey("items", "1")
    one, other = Announcer("p", "first"), Announcer("p", "second")
    one.messages([key])
    [body] = other.messages([key])["items"]
    assert decode(body) == Change(key, Origin("p", other.epoch, 1))
    assert one.epoch != other.epoch


@pytest.mark.parametrize("id", ["x" * 256, '"' * 256, "\\" * 256, "€" * 85, "\u2028" * 85, "😀" * 64])
def test_longest_id_fits(id: str):
    """The longest id of the longest name is within what a receiver reads, however it is escaped."""
    key = EntityKey("n" * 64, id)
    [body] = Announcer("p" * 16, "e" * 16).messages([key])[key.entity]
    assert len(body) <= MAX_BYTES
    assert decode(body) == Change(key, Origin("p" * 16, "e" * 16, 1))
