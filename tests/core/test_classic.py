"""The classic wire: as lenient as Go's decoder (the contract is in tests/classic)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync.core import classic
from entity_sync.core.messages import Invalid, Pass, Secret, Subscribe, Unsubscribe, Upward, Wanted


@pytest.mark.parametrize(
    ("frame", "meaning"),
    [
        ('{"action":"subscribe","body":{"entity":"a","id":"1"}}', Subscribe((Wanted("a", "1"),))),
        (b'{"ACTION":"unsubscribe","Body":{"ENTITY":"a","Id":"1"}}', Unsubscribe((Wanted("a", "1"),))),
        ('{"action":"x","action":"subscribe","body":null}', Subscribe((Wanted("", ""),))),
        (
            '{"action":"subscribe","action":null,"body":{"id":"1","id":null}}',
            Subscribe((Wanted("", "1"),)),
        ),
        ('{"action":"subscribe","body":{"entity":"a","id":"\\ud800"}}', Subscribe((Wanted("a", "\ufffd"),))),
        ('{"action":"secret","body":"hush"}', Secret("hush")),
        ('{"action":"secret","body":null}', Secret("")),
        ("null", Pass(b"null")),
        ('{"action":null}', Pass(b'{"action":null}')),
        (b'{"hello":1}', Pass(b'{"hello":1}')),
    ],
)
def test_meaning(frame: str | bytes, meaning: Upward):
    """Names in any case, the last of equal ones, nulls and lone surrogates are what Go makes of them."""
    assert classic.decode(frame) == meaning


@pytest.mark.parametrize(
    "frame",
    ["", "{", "[]", "5", '"x"', "NaN", '{"a":NaN}', '{"action":5}', '{"action":"Subscribe"}',
     '{"action":"subscribe"}',
     '{"action":"subscribe","body":5}',
     '{"action":"subscribe","body":{"entity":"a","id":5}}',
     '{"action":"secret","body":{}}', '{"action":"secret"}', "[" * 100_000, b"\xff"],
)  # fmt: skip
def test_ignored(frame: str | bytes):
    """What the original only logs is Invalid."""
    assert isinstance(classic.decode(frame), Invalid)


@settings(deadline=None)
@given(st.binary() | st.text(st.characters(codec=None)))
def test_anything(frame: str | bytes):
    """No text and no bytes raise."""
    classic.decode(frame)
