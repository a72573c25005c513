"""Changes as they travel."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync.core.change import decode, encode
from entity_sync.model import Change, EntityKey, Origin, Source

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
ORIGINS = st.builds(
    Origin, st.builds(Source, TEXT, TEXT), st.integers(1, 2**50), st.none() | st.integers(0, 2**50)
)


@settings(deadline=None)
@given(TEXT, TEXT, st.none() | ORIGINS)
def test_round_trip(entity: str, id: str, origin: Origin | None):
    """What is encoded is decoded to the same Change."""
    change = Change(EntityKey(entity, id), origin)
    assert decode(encode(change)) == change


def test_classic_body():
    """Without an origin the bytes are the Go original's, member for member."""
    assert encode(Change(EntityKey("items", "100"))) == b'{"entity":"items","id":"100"}'


def test_members_in_order():
    """entity and id come first, as a Go node reads them."""
    assert encode(Change(EntityKey("items", "1"), Origin(Source("p", "e"), 1))).startswith(
        b'{"entity":"items","id":"1",'
    )


KEY = EntityKey("items", "1")


@pytest.mark.parametrize(
    "payload",
    [
        b'{"entity":"items","id":"1"}',
        b'{"id":"1","entity":"items"}',
        b'{"entity":"items","id":"1","version":{"a":[1]},"more":null}',
        b'{"Entity":"items","ID":"1"}',
        b' { "ENTITY" : "items", "Id" : "1" } ',
        b'{"entity":"items","id":"1","publisher":"p"}',
        b'{"entity":"items","id":"1","publisher":"p","epoch":"e","seq":null}',
        b'{"entity":"items","id":"1","publisher":5,"epoch":"e","seq":1}',
        b'{"entity":"items","id":"1","publisher":"p","epoch":"e","seq":"1"}',
        b'{"entity":"items","id":"1","seq":1.5}',
        b'{"entity":"items","id":"1","publisher":"p","epoch":"e","seq":0}',
        b'{"entity":"items","id":"1","publisher":"p","epoch":"e","seq":9007199254740992}',
        b'{"entity":"items","id":"1","publisher":"p","epoch":"e","seq":2,"since":' + b"9" * 400 + b"}",
        b'{"entity":"items","id":"1","publisher":"p","epoch":"e","seq":2,"since":-1}',
        b'{"entity":"items","id":"1","publisher":"' + b"p" * 65 + b'","epoch":"e","seq":2}',
    ],
)
def test_foreign_bodies(payload: bytes):
    """Whatever else a foreign body holds, and however it spells the names, its key changed: none is lost."""
    assert decode(payload) == Change(KEY)


@pytest.mark.parametrize(
    "payload",
    [b"", b"nonsense", b"null", b"5", b"[]", b"{}", b'"items"', b'{"entity":"items"}', b'{"id":"1"}',
     b'{"entity":"items","id":5}', b'{"entity":null,"id":"1"}', b'{"Entity":[],"ID":"1"}',
     b"\xff", b'{"entity":"items","id":"\xff"}', b"[" * 4_000, b'{"entity":"items","id":"1"}{}'],
)  # fmt: skip
def test_foreign_bytes_are_no_change(payload: bytes):
    """What names no key by two strings is None and raises nothing."""
    assert decode(payload) is None


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(payload: bytes):
    """No bytes raise, and random ones are no Change."""
    assert decode(payload) is None


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["entity", "Id", "id", "publisher", "epoch", "seq"]),
        st.none() | st.text(max_size=50) | st.integers() | st.lists(st.text(), max_size=2),
    )
)
def test_any_body(body: dict[str, Any]):
    """Any JSON object is a Change of the key it names by two strings, or None."""
    found = decode(json.dumps(body).encode())
    entity, ids = body.get("entity"), [body[name] for name in ("id", "Id") if name in body]
    if isinstance(entity, str) and ids and all(isinstance(id, str) for id in ids):
        assert found is not None
        assert found.key in [EntityKey(entity, id) for id in ids]
    else:
        assert found is None or (found.key.entity == entity and found.key.id in ids)


def test_tags_travel():
    """What live queries are told by: values as text, in a stable order."""
    change = Change(
        EntityKey("orders", "55"), tags={"customer": frozenset({"9", "7"}), "status": frozenset()}
    )
    payload = encode(change)
    assert payload == b'{"entity":"orders","id":"55","tags":{"customer":["7","9"],"status":[]}}'
    assert decode(payload) == change


def test_tags_that_are_too_long_are_left_out():
    """A message stays small; without tags it concerns every live query. The rest of it stays."""
    tags = {f"tag{number}": frozenset({"x" * 250}) for number in range(16)}
    change = Change(KEY, Origin(Source("p", "e"), 3, 17), tags, ("token",), 5)
    assert decode(encode(change)) == replace(change, tags=None)


def test_tags_of_a_wrong_shape():
    """They are somebody else's member of that name: the key is what counts."""
    payload = b'{"entity":"orders","id":"55","tags":[1]}'
    assert decode(payload) == Change(EntityKey("orders", "55"))
