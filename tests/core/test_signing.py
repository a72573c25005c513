"""Who wrote a broker message."""

from __future__ import annotations

import base64
import hmac
import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync.core.signing import Signing
from entity_sync.errors import ConfigurationError

OLD, NEW = "an old secret of 25 bytes", b"\x00\xffa new secret of bytes"
BODY = b'{"entity":"items","id":"1"}'


def test_signed_is_verified():
    """What a key signed is signed to whoever holds it, and still JSON whose first members come first."""
    signing = Signing({"a": OLD})
    signed = signing.sign("items", BODY)
    assert signing.verify("items", signed) == "signed"
    assert list(json.loads(signed)) == ["entity", "id", "mac"]
    assert signed.startswith(BODY[:-1])


def test_spelling():
    """Nodes of different versions verify one another: the last member is the key's name, a point, and the
    HMAC-SHA256 of the topic, a zero byte and all that stands before, in base64url without padding."""
    for secret, key in ((OLD, OLD.encode()), (NEW, NEW)):
        signed = Signing({"a": secret}).sign("items", BODY)
        digest = hmac.new(key, b"items\0" + BODY[:-1], "sha256").digest()
        text = base64.urlsafe_b64encode(digest).decode().replace("=", "")
        assert signed == BODY[:-1] + f',"mac":"a.{text}"}}'.encode()


def test_names_of_keys():
    """A key's name is of letters in both cases, digits, _ and -, up to 32 of them."""
    for name in ("a", "Key_2026-A", "Z" * 32):
        signing = Signing({name: OLD})
        assert signing.verify("items", signing.sign("items", BODY)) == "signed"


def test_a_message_that_has_such_a_member():
    """Only the last member signs: one of the same name before it belongs to what is signed."""
    signing = Signing({"a": OLD})
    assert signing.verify("items", signing.sign("items", b'{"id":"1","mac":"of something else"}')) == "signed"


def test_for_one_topic():
    """A message cannot be moved to another topic."""
    signing = Signing({"a": OLD})
    assert signing.verify("users", signing.sign("items", BODY)) == "forged"


def test_unsigned():
    """A message without the member is unsigned, which is no forgery."""
    assert Signing({"a": OLD}).verify("items", BODY) == "unsigned"


def test_rotation():
    """The first key signs, each verifies: nodes between the steps of a rotation understand each other."""
    steps: list[dict[str, str | bytes]] = [{"a": OLD}, {"a": OLD, "b": NEW}, {"b": NEW, "a": OLD}, {"b": NEW}]
    for before, after in pairwise(steps):
        for one, other in ((before, after), (after, before)):
            assert Signing(other).verify("items", Signing(one).sign("items", BODY)) == "signed"
    assert Signing(steps[3]).verify("items", Signing(steps[0]).sign("items", BODY)) == "forged"


def test_another_secret_under_the_same_name():
    """The name of a key proves nothing."""
    assert Signing({"a": NEW}).verify("items", Signing({"a": OLD}).sign("items", BODY)) == "forged"


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(1, 255))
def test_any_change_is_a_forgery(place: int, mask: int):
    """No bit of a signed message can be changed unnoticed."""
    signing = Signing({"a": OLD})
    signed = bytearray(signing.sign("items", BODY))
    signed[place % len(signed)] ^= mask
    assert signing.verify("items", bytes(signed)) != "signed"


@pytest.mark.parametrize(
    "tail", [b'","mac":"', b',"mac":"\xff\xff"}', b',"mac":"a."}', b',"mac":""}', b',"mac":"b.x"}']
)
def test_malformed_signatures(tail: bytes):
    """What only looks like a signature is a forgery, and raises nothing."""
    assert Signing({"a": OLD}).verify("items", BODY[:-1] + tail) == "forged"


def test_secrets_are_not_shown():
    """Its text names the keys and no secret."""
    shown = repr(Signing({"a": OLD, "b": NEW}))
    assert shown == "Signing(a, b)"


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({}, "at least one key"),
        ({"a b": OLD}, "'a b'"),
        ({"x" * 33: OLD}, "1 to 32"),
        ({"a": "short"}, "16 bytes"),
    ],
)
def test_mistakes(keys: dict[str, str], error: str):
    """What cannot be right is named at once, without the secret."""
    with pytest.raises(ConfigurationError, match=error) as caught:
        Signing(keys)
    assert "short" not in str(caught.value).replace("shorter", "")
