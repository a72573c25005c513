"""Changes as they travel."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync.core.announce import Announcer
from entity_sync.core.change import MAX_BYTES, decode, encode
from entity_sync.model import Change, EntityKey, Origin

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


@settings(deadline=None)
@given(TEXT, TEXT, st.none() | st.tuples(TEXT, TEXT, st.integers(0, 2**50)).map(lambda parts: Origin(*parts)))
def test_round_trip(entity: str, id: str, origin: Origin | None):
    """What is encoded is decoded to the same Change."""
    change = Change(EntityKey(entity, id), origin)
    assert decode(encode(change)) == change


def test_classic_body():
    """Without an origin the bytes are the Go original's, member for member."""
    assert encode(Change(EntityKey("items", "100"))) == b'{"entity":"items","id":"100"}'


def test_members_in_order():
    """entity and id come first, as a Go node reads them."""
    assert encode(Change(EntityKey("items", "1"), Origin("p", "e", 1))).startswith(
        b'{"entity":"items","id":"1",'
    )


@pytest.mark.parametrize(
    "payload",
    [b"", b"nonsense", b"[]", b'{"entity":"items"}', b'{"entity":"items","id":5}', b"\xff", b"[" * 5_000,
     b'{"entity":"items","id":"' + b"x" * MAX_BYTES + b'"}'],
)  # fmt: skip
def test_foreign_bytes_are_no_change(payload: bytes):
    """What is no Change, or over 4 KiB, is None and raises nothing."""
    assert decode(payload) is None


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(payload: bytes):
    """No bytes raise."""
    decode(payload)


def test_announcer_numbers_each_topic():
    """Messages are numbered from 1 in each topic, across calls, one key each."""
    announcer = Announcer("p", "e")
    announcer.messages([EntityKey("a", "1")])
    found = announcer.messages([EntityKey("a", "2"), EntityKey("b", "1"), EntityKey("a", "3")])
    numbers = {
        topic: [change.origin.seq for body in bodies if (change := decode(body)) and change.origin]
        for topic, bodies in found.items()
    }
    assert numbers == {"a": [2, 3], "b": [1]}
