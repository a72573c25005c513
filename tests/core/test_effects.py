"""Effects and outcomes are values, and none of them shows a secret."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pytest
from msgspec import UNSET

from entity_sync.core.effects import (
    Admitted,
    Authenticate,
    Doubted,
    Effect,
    Ended,
    Event,
    Overdue,
    Refused,
    Watch,
)  # fmt: skip
from entity_sync.core.messages import (
    Invalid,
    Pass,
    Ping,
    Resync,
    Secret,
    Subscribe,
    Unsubscribe,
    Upward,
    Wanted,
)  # fmt: skip
from entity_sync.model import EntityKey


def test_every_event_is_a_message_or_an_outcome():
    """What a session can be fed is every upward message and the five outcomes."""
    assert set(get_args(Event)) == {*get_args(Upward), Admitted, Refused, Overdue, Ended, Doubted}


@pytest.mark.parametrize("kind", [*get_args(Effect), *get_args(Event)], ids=lambda kind: kind.__name__)
def test_values(kind: Any):
    """Each effect and event is equal by its members, cannot be changed, and has no room for more."""
    names = [field.name for field in dataclasses.fields(kind)]
    one, same = kind(*names), kind(*names)
    assert one == same
    assert not hasattr(one, "__dict__")
    for name in names:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, name, None)
        assert dataclasses.replace(one, **{name: "another"}) != one


def test_a_secret_does_not_show():
    """The effect that carries a secret shows that there is one, not which."""
    assert repr(Authenticate("hush")) == repr(Authenticate(None)) == "Authenticate(secret=***)"


def test_refused_says_so():
    """A refusal is by default a final denial."""
    assert Refused() == Refused("denied", "the secret was refused", retryable=False)


def test_what_is_not_said():
    """A question is the first one, nobody asks for causes, and nothing was refused, unless it is said."""
    key = EntityKey("items", "1")
    assert Authenticate("hush") == Authenticate("hush", again=False)
    assert Watch(key, None, again=True) == Watch(key, None, again=True, causes=False)
    assert Wanted("items", "1") == Wanted("items", "1", None, causes=False)
    for kind in (Subscribe, Unsubscribe):
        assert kind(()) == kind((), (), UNSET)
    for one in (Secret("hush"), Resync(1, 2), Pass(b"1"), Ping(), Invalid("bad_frame", "not JSON")):
        assert one.ref is UNSET
