"""Topics and bytes of an application's nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync.core.control import Beat, Echo, Order, decode, encode
from entity_sync.core.envelope import CONTROL, MAX_BYTES, Envelope, Letter, private
from entity_sync.core.rights import RIGHTS, Verdict, named, told
from entity_sync.core.signing import Signing
from entity_sync.errors import ConfigurationError
from entity_sync.model import Change, EntityKey, Origin, Source

CHANGE = Change(EntityKey("items", "1"), Origin(Source("p", "e"), 1))
ORDER = Order("p", "e", 2, ("items", "users"), 5)
REVOKED = replace(told(named("ann"), Verdict.REVOKED), origin=Origin(Source("p", "e"), 4))
LETTERS: list[tuple[str, Letter]] = [
    ("items", CHANGE),
    (RIGHTS, REVOKED),
    (CONTROL, ORDER),
    (CONTROL, Beat("p", "e", {"items": (3, 17)}, 10_000, bye=True)),
    (private("p"), Echo("e", 7)),
]


@pytest.mark.parametrize("signing", [None, Signing({"a": "s" * 16})])
@pytest.mark.parametrize(("name", "letter"), LETTERS)
def test_what_is_sealed_is_opened(name: str, letter: Letter, signing: Signing | None):
    """Every letter comes back as it was, on its prefixed topic, signed or not."""
    envelope = Envelope("shop.", signing)
    topic = envelope.topic(name)
    assert topic == f"shop.{name}"
    assert envelope.name(topic) == name
    assert envelope.open(topic, envelope.seal(name, letter)) == letter


def test_without_a_prefix():
    """A topic is called as its entity, as on a Go node."""
    assert Envelope().topic("items") == Envelope().name("items") == "items"


def test_a_go_node_sees_its_own_body():
    """Without a prefix and keys, the first bytes of a change are those of the Go original."""
    assert Envelope().seal("items", CHANGE).startswith(b'{"entity":"items","id":"1",')


@pytest.mark.parametrize("unsigned", ["refuse", "accept"])
def test_unsigned_letters(unsigned: Literal["refuse", "accept"]):
    """Unsigned changes are taken where that is accepted, unsigned control nowhere, forged letters nowhere."""
    ours = Envelope(signing=Signing({"a": "s" * 16}, unsigned=unsigned))
    forger = Envelope(signing=Signing({"a": "z" * 16}))
    for name, letter in LETTERS:
        # Its number is left out: it could hide that one of a signing source is missing.
        expected = Change(CHANGE.key) if unsigned == "accept" and name == "items" else None
        assert ours.open(name, Envelope().seal(name, letter)) == expected
        assert ours.open(name, forger.seal(name, letter)) is None


@pytest.mark.parametrize("signing", [None, Signing({"a": "s" * 16}, unsigned="accept")])
def test_a_change_of_another_name(signing: Signing | None):
    """What is said of a principal, or of another entity, on an entity's topic is no message."""
    ours = Envelope("shop.", signing)
    for envelope in (ours, Envelope("shop.")):
        for letter in (REVOKED, replace(CHANGE, key=EntityKey("users", "1"))):
            payload = envelope.seal("items", letter)
            assert ours.open("shop.items", payload) is None
        assert ours.open(f"shop.{RIGHTS}", envelope.seal(RIGHTS, CHANGE)) is None


def test_at_most_4_kib():
    """A message of 4 KiB is read, one of a byte more is not."""
    assert MAX_BYTES == 4_096
    start, end = b'{"entity":"items","id":"1","more":"', b'"}'
    fill = b"x" * (MAX_BYTES - len(start + end))
    assert Envelope().open("items", start + fill + end) == Change(EntityKey("items", "1"))
    assert Envelope().open("items", start + fill + b"x" + end) is None


@pytest.mark.parametrize("prefix", ["x" * 21, "a b", "ä", "a/"])
def test_prefixes_that_cannot_be(prefix: str):
    """A prefix leaves room for our own names and holds what every broker carries."""
    with pytest.raises(ConfigurationError, match="prefix"):
        Envelope(prefix)


def test_our_names_fit():
    """With the longest prefix our own topics have at most 64 characters."""
    envelope = Envelope("x" * 20)
    assert len(envelope.topic(CONTROL)) <= 64
    assert len(envelope.topic(private("f" * 16))) <= 64


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"{}", b'{"control":"beat"}', b'{"control":"other","publisher":"p","epoch":"e"}',
     b'{"control":"beat","publisher":"p","epoch":"e","topics":{"items":[-1,0]}}',
     b'{"control":"beat","publisher":"p","epoch":"e","topics":{"items":[1]}}',
     b'{"control":"beat","publisher":"p","epoch":"e","next_ms":1e400}',
     b'{"control":"resync","publisher":"p","epoch":"e","seq":0,"entities":[]}',
     b'{"control":"resync","publisher":"p","epoch":"e","seq":1,"entities":"items"}',
     b'{"control":"resync","publisher":"' + b"p" * 65 + b'","epoch":"e","seq":1,"entities":[]}',
     b'{"control":"echo","epoch":"e","number":"1"}', b"[" * 4_000],
)  # fmt: skip
def test_strange_control(payload: bytes):
    """What no node can have sent is None, and raises nothing."""
    assert decode(payload) is None


def test_control_of_a_later_version():
    """Members that we do not know yet are ignored."""
    assert decode(encode(ORDER)[:-1] + b',"more":{"a":1}}') == ORDER
    assert ORDER.origin == Origin(Source("p", "e"), 2, 5)


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["items", CONTROL, private("p")]))
def test_any_bytes(payload: bytes, topic: str):
    """No bytes raise, with keys or without."""
    assert Envelope().open(topic, payload) is None
    assert Envelope(signing=Signing({"a": "s" * 16}, unsigned="accept")).open(topic, payload) is None
