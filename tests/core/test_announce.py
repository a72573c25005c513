"""Keys that changed become numbered messages, by topic."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync.core.announce import Announcer
from entity_sync.core.envelope import CONTROL, MAX_BYTES, Envelope
from entity_sync.core.signing import Signing
from entity_sync.model import Change, EntityKey, Origin, Source

KEYS = st.builds(EntityKey, st.sampled_from("abc"), st.text(st.characters(exclude_categories=["Cs"])))
SOURCE = Source("p" * 16, "e" * 16)


@settings(deadline=None)
@given(st.lists(st.lists(KEYS, max_size=6), max_size=6))
def test_every_key_is_announced(calls: Sequence[Sequence[EntityKey]]):
    """Each key is one message, numbered from 1 by its entity, in order, across calls."""
    announcer = Announcer(SOURCE)
    seqs: dict[str, int] = {}
    for number, keys in enumerate(calls):
        for key, change in zip(keys, announcer.numbered(map(Change, keys), number / 2), strict=True):
            seqs[key.entity] = seqs.get(key.entity, 0) + 1
            assert change.key == key
            assert change.origin is not None
            assert change.origin[:2] == (SOURCE, seqs[key.entity])
            assert (change.origin.since is None) == (change.origin.seq == 1)


def test_since_is_the_predecessors_age():
    """A message tells how long ago its predecessor was numbered, never more, in milliseconds."""
    announcer = Announcer(SOURCE)
    found = [
        announcer.numbered(map(Change, [EntityKey("items", "1")]), now)[0].origin
        for now in (10.0, 10.0, 12.3456)
    ]
    assert [one.since for one in found if one] == [None, 0, 2_345]


def test_quiet_names_are_told_once():
    """Some time after the last message about an entity its number is told, once; later ones anew."""
    announcer = Announcer(SOURCE)
    announcer.numbered(map(Change, [EntityKey("a", "1"), EntityKey("b", "1"), EntityKey("a", "2")]), 0.0)
    announcer.numbered(map(Change, [EntityKey("b", "2")]), 0.5)
    assert announcer.quiet(0.9, 1.0) == []
    assert [beat.topics for beat in announcer.quiet(1.0, 1.0)] == [{"a": (2, 1_000)}]
    assert [beat.topics for beat in announcer.quiet(2.0, 1.0)] == [{"b": (2, 1_500)}]
    assert announcer.quiet(9.0, 1.0) == []
    announcer.numbered(map(Change, [EntityKey("a", "1")]), 9.5)
    assert [beat.topics for beat in announcer.quiet(10.5, 1.0)] == [{"a": (3, 1_000)}]


def test_a_single_message_is_told_too():
    """The first message of an entity, and the only one, is told of when it stays quiet."""
    announcer = Announcer(SOURCE)
    announcer.numbered(map(Change, [EntityKey("items", "1")]), 0.0)
    assert [beat.topics for beat in announcer.quiet(1.0, 1.0)] == [{"items": (1, 1_000)}]


def test_signs_of_life():
    """A sign of life tells as many numbers as fit, by turns all of them, and when the next one comes."""
    announcer = Announcer(SOURCE)
    assert not announcer.has_spoken
    announcer.numbered(map(Change, [EntityKey(f"n{number}", "1") for number in range(100)]), 1.0)
    announcer.numbered(map(Change, [EntityKey("n5", "1")]), 2.0)
    beats = [announcer.alive(3.0, 10.0) for _ in range(3)]
    assert announcer.has_spoken
    assert beats[0].topics["n5"] == (2, 1_000)
    assert [len(beat.topics) for beat in beats] == [36, 36, 36]
    assert len({name for beat in beats for name in beat.topics}) == 100
    assert (beats[0].source, beats[0].next_ms, beats[0].bye) == (SOURCE, 10_000, False)


def test_what_goes_out_again_is_young_again():
    """A message that goes out later stands for what changed until then: its successor counts from there."""
    announcer = Announcer(SOURCE)
    announcer.numbered(map(Change, [EntityKey("items", "1")]), 1.0)
    announcer.again(["items"], 5.0)
    [change] = announcer.numbered(map(Change, [EntityKey("items", "2")]), 6.0)
    assert change.origin == Origin(SOURCE, 2, 1_000)


def test_last_words():
    """Bye tells every number, told before or not, on as many pages as they need; the last says bye."""
    announcer = Announcer(SOURCE)
    assert [beat.bye for beat in announcer.bye(0.0)] == [True]
    announcer.numbered(map(Change, [EntityKey(f"n{number}", "1") for number in range(40)]), 1.0)
    announcer.quiet(9.0, 1.0)
    beats = announcer.bye(9.0)
    assert [beat.bye for beat in beats] == [False, True]
    assert {name for beat in beats for name in beat.topics} == {f"n{number}" for number in range(40)}


@pytest.mark.parametrize("id", ["x" * 256, '"' * 256, "\\" * 256, "€" * 85, "\u2028" * 85, "😀" * 64])
def test_everything_fits(id: str):
    """The longest id of the longest name, and the largest beat, signed, are within what a receiver reads."""
    envelope = Envelope("p" * 20, Signing({"k" * 32: "s" * 16}))
    announcer = Announcer(SOURCE)
    key = EntityKey("n" * 44, id)
    for now in (0.0, 1e6):
        [change] = announcer.numbered(map(Change, [key]), now)
        sealed = envelope.seal(key.entity, change)
        assert len(sealed) <= MAX_BYTES
        assert envelope.open(envelope.topic(key.entity), sealed) == change
    announcer.numbered(map(Change, [EntityKey(f"{number:064}", "1") for number in range(100)]), 1e6)
    beat = announcer.alive(1e9, 600.0)
    assert len(envelope.seal(CONTROL, beat)) <= MAX_BYTES
    assert envelope.open(envelope.topic(CONTROL), envelope.seal(CONTROL, beat)) == beat


def test_orders_are_numbered_too():
    """An order has its place among those of its source, as a change has among those of its entity."""
    announcer = Announcer(SOURCE)
    assert [announcer.order(["a", "b"], now).origin for now in (1.0, 2.5)] == [
        Origin(SOURCE, 1),
        Origin(SOURCE, 2, 1_500),
    ]
    assert announcer.order(["a"], 3.0).entities == ("a",)
    assert announcer.alive(3.0, 1.0).topics == {CONTROL: (3, 0)}
