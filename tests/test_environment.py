"""What is set for all processes at once."""

from __future__ import annotations

import pytest

from entity_sync import ConfigurationError, EntitySync, Publisher, Signing
from entity_sync.core.envelope import Envelope
from entity_sync.environment import broker_url, envelope
from entity_sync.model import Change, EntityKey

CHANGE = Change(EntityKey("items", "1"))


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROKER", "TOPIC_PREFIX", "SIGNING_KEYS"):
        monkeypatch.delenv(f"ENTITY_SYNC_{name}", raising=False)


def test_nothing_is_set():
    """Without variables: in memory, no prefix, unsigned."""
    assert broker_url() == "memory://"
    assert envelope(None, None).topic("items") == "items"
    assert envelope(None, None).seal("items", CHANGE) == b'{"entity":"items","id":"1"}'


def test_everything_is_set(monkeypatch: pytest.MonkeyPatch):
    """The variables hold where the program says nothing; the first key signs, all verify."""
    monkeypatch.setenv("ENTITY_SYNC_BROKER", "nsq://127.0.0.1:4150")
    monkeypatch.setenv("ENTITY_SYNC_TOPIC_PREFIX", "shop.")
    monkeypatch.setenv("ENTITY_SYNC_SIGNING_KEYS", f"new:{'n' * 16}:x, old:{'o' * 16}")
    assert broker_url() == "nsq://127.0.0.1:4150"
    found = envelope(None, None)
    for keys in ({"new": "n" * 16 + ":x"}, {"old": "o" * 16}):
        signed = Envelope("shop.", Signing(keys)).seal("items", CHANGE)
        assert found.open("shop.items", signed) == CHANGE
    assert b'"mac":"new.' in found.seal("items", CHANGE)
    assert found.open("shop.items", Envelope().seal("items", CHANGE)) is None


def test_the_program_comes_first(monkeypatch: pytest.MonkeyPatch):
    """What the program says overrules the variables; an empty prefix is said too."""
    monkeypatch.setenv("ENTITY_SYNC_TOPIC_PREFIX", "shop.")
    monkeypatch.setenv("ENTITY_SYNC_SIGNING_KEYS", f"a:{'x' * 16}")
    found = envelope("", Signing({"b": "y" * 16}))
    assert found.topic("items") == "items"
    assert b'"mac":"b.' in found.seal("items", CHANGE)


@pytest.mark.parametrize("keys", ["secret-without-a-name", "a:short", f"a:{'x' * 16},", f":{'x' * 16}"])
def test_keys_that_cannot_be(monkeypatch: pytest.MonkeyPatch, keys: str):
    """Keys that are none fail at once, and no text quotes them."""
    monkeypatch.setenv("ENTITY_SYNC_SIGNING_KEYS", keys)
    for make in (EntitySync, lambda: Publisher("memory://")):
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert "x" * 16 not in str(caught.value)
        assert "secret-without" not in str(caught.value)
