"""What nodes tell one another of principals."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from entity_sync.core.backlog import Backlog
from entity_sync.core.change import decode, encode
from entity_sync.core.rights import RIGHTS, Verdict, named, told, verdict


@pytest.mark.parametrize("said", Verdict)
def test_what_is_told_is_heard(said: Verdict):
    """Through a broker too; the principal's key, which may be a secret, is not in it."""
    change = told(named("ann's secret"), said)
    payload = encode(change)
    assert b"ann" not in payload
    heard = decode(payload)
    assert heard is not None
    assert (heard.key.entity, heard.key.id, verdict(heard)) == (RIGHTS, named("ann's secret"), said)


@pytest.mark.parametrize("key", [7, None, b"ann"])
def test_a_key_that_is_no_str(key: Any):
    """Whatever else it is, the text says what a principal's key is, and does not show it."""
    text = f"a principal's key is a str, as authenticate returned it, not of type {type(key).__name__}"
    with pytest.raises(TypeError, match=f"^{text}$"):
        named(key)


def test_spelling():
    """Nodes of different versions understand one another: where it is said, of whom, and in which words."""
    for said, word in ((Verdict.REVOKED, b"revoked"), (Verdict.REAUTHORIZE, b"reauthorize")):
        assert encode(told("0123", said)) == (
            b'{"entity":"entity-sync.rights.transient","id":"0123","tags":{"verdict":["' + word + b'"]}}'
        )
    assert named("ann") == hashlib.sha256(b"ann").hexdigest()[:32]


def test_names():
    """Any text has one, half a character too, and equal ones are equal."""
    assert named("ann") == named("ann") != named("bob")
    assert len(named("\ud800")) == 32


def test_two_that_became_one_revoke():
    """Whoever was both while the broker was away is revoked; so is whoever nothing more is said of."""
    backlog = Backlog(10)
    for said in (Verdict.REAUTHORIZE, Verdict.REVOKED, Verdict.REAUTHORIZE):
        backlog.keep([told(named("ann"), said)])
    _, [change] = backlog.take(1)
    assert verdict(change) is Verdict.REVOKED
    assert verdict(replace(change, tags=None)) is Verdict.REVOKED
    assert verdict(replace(change, tags={})) is Verdict.REVOKED
