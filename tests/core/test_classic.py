"""The classic wire: as lenient as Go's decoder (the contract is in tests/classic)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync.core import classic
from entity_sync.core.messages import Invalid, Pass, Secret, Subscribe, Unsubscribe, Upward, Wanted


def subscribe(body: str) -> str:
    return f'{{"action":"subscribe","body":{body}}}'


ONE = Subscribe((Wanted("a", "1"),))


@pytest.mark.parametrize(
    ("frame", "meaning"),
    [
        (subscribe('{"entity":"a","id":"1"}'), ONE),
        ('{"action":"unsubscribe","body":{"entity":"a","id":"1"}}', Unsubscribe((Wanted("a", "1"),))),
        ('{"action":"secret","body":"hush"}', Secret("hush")),
        # Text and binary alike, white space around it
        (b' \t\r\n{"action":"subscribe","body":{"entity":"a","id":"1"}}\n', ONE),
        # Names in any case, unknown ones
        (b'{"ACTION":"subscribe","boDy":{"ENTITY":"a","Id":"1"}}', ONE),
        ('{"\\u0061ction":"subscribe","body":{"entity":"a","id":"1"}}', ONE),
        ('{"x":[{}],"action":"subscribe","body":{"y":null,"entity":"a","id":"1","z":7}}', ONE),
        # The last of equal names
        ('{"action":"x","Action":"subscribe","body":7,"body":{"entity":"b","entity":"a","id":"1"}}', ONE),
        ('{"action":"secret","body":5,"body":"x"}', Secret("x")),
        # A later null leaves what was given; alone it is nothing
        ('{"action":"subscribe","action":null,"body":{"entity":"a","id":"1","ID":null}}', ONE),
        (subscribe('{"entity":"a","id":null}'), Subscribe((Wanted("a", ""),))),
        (subscribe('{"id":"1"}'), Subscribe((Wanted("", "1"),))),
        (subscribe("null"), Subscribe((Wanted("", ""),))),
        (subscribe('{"entity":"a","id":"1"},"body":null'), ONE),
        ('{"action":"secret","body":null}', Secret("")),
        ('{"action":"secret","body":"x","body":null}', Secret("x")),
        # What is no character
        (
            subscribe('{"entity":"a","id":"\\ud800A\\udc00\\ud83d\\ude00"}'),
            Subscribe((Wanted("a", "\ufffdA\ufffd😀"),)),
        ),
        (
            b'{"action":"secret","body":"\xffx\xe2\x82y\xed\xa0\x80"}',
            Secret("\ufffdx" + "\ufffd" * 2 + "y" + "\ufffd" * 3),
        ),
        # Any text is an id
        (subscribe('{"entity":"","id":"\\u0000 \\n\\".."}'), Subscribe((Wanted("", '\0 \n"..'),))),
        (subscribe(f'{{"entity":"a","id":"{"x" * 300}"}}'), Subscribe((Wanted("a", "x" * 300),))),
    ],
)
def test_meaning(frame: str | bytes, meaning: Upward):
    """Each leniency of Go's decoder: names, doubles, nulls, what is no character, any id."""
    assert classic.decode(frame) == meaning


@pytest.mark.parametrize(
    "frame",
    [b"null", b" null ", b"{}", b'{"hello":1}', b'{"action":""}', b'{"action":null}',
     b'{"Action":"","body":5}',
     b'{"n":' + b"9" * 5_000 + b"}", b'{"n":1e999}', b'{"x":"\xff"}'],
)  # fmt: skip
def test_passed_through(frame: bytes):
    """Without an action the whole frame is the application's, byte for byte."""
    assert classic.decode(frame) == Pass(frame)


def test_text_is_passed_as_utf8():
    """A text frame without an action is handed on as its UTF-8, and a lone surrogate as a question mark."""
    assert classic.decode('{"x":"é"}') == Pass('{"x":"é"}'.encode())
    assert classic.decode('{"x":"\ud800"}') == Pass(b'{"x":"?"}')


@pytest.mark.parametrize(
    "frame",
    ["", " ", "{", "nonsense", "[]", "5", '"x"', "true", "NaN", '{"a":NaN}', '{"a":-Infinity}', "{}{}",
     "{} x", "X{}X",
     "\ufeff{}", "\xa0{}", '{"a":"\t"}', "{'a':1}", '{"n":01}', "[" * 100_000, b"\xff",
     '{"action":5}', '{"action":[]}', '{"action":5,"action":"subscribe","body":null}',
     '{"action":"Subscribe"}', '{"action":"fetch"}', '{"action":" subscribe"}',
     '{"action":"subscribe"}', '{"action":"unsubscribe"}', '{"action":"secret"}',
     subscribe("5"), subscribe('"x"'), subscribe("[]"), subscribe("false"),
     subscribe('[{"entity":"a","id":"1"}]'),
     subscribe('{"entity":"a","id":5}'), subscribe('{"entity":{},"id":"1"}'),
     subscribe('{"entity":"a","id":5,"id":"1"}'), subscribe('{"entity":"a","id":true,"id":null}'),
     '{"action":"secret","body":{}}', '{"action":"secret","body":5}', '{"action":"secret","body":["x"]}'],
)  # fmt: skip
def test_ignored(frame: str | bytes):
    """What the original only logs is Invalid, a wrong type too that a right one follows."""
    assert isinstance(classic.decode(frame), Invalid)


@pytest.mark.parametrize(
    ("frame", "code", "text"),
    [
        ("nonsense", "bad_frame", "not JSON"),
        ("[]", "bad_frame", "not an object"),
        ('{"action":5}', "bad_frame", "action is not a string"),
        (subscribe("5"), "bad_body", "the body of subscribe is not an entity and an id"),
        ('{"action":"secret","body":5}', "bad_body", "the secret is not a string"),
        ('{"action":"fetch"}', "unsupported", "unknown action"),
    ],
)
def test_what_is_wrong(frame: str, code: str, text: str):
    """What is not understood has the code that the same mistake has on v2, and says what it is."""
    assert classic.decode(frame) == Invalid(code, text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["subscribe", "secret"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["action", "Body", "ENTITY", "id"]) | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.binary() | st.text(st.characters(codec=None)) | JSON.map(json.dumps))
def test_anything(frame: str | bytes):
    """No text, no bytes and no JSON raise, and what comes out holds no lone surrogate."""
    found = classic.decode(frame)
    strings = (
        [text for one in found.wanted for text in (one.entity, one.id)]
        if isinstance(found, Subscribe)
        else []
    )
    assert isinstance("".join(strings).encode(), bytes)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_key(entity: str, id: str):
    """Any two strings are a key, as text and as bytes."""
    frame = json.dumps({"action": "subscribe", "body": {"entity": entity, "id": id}}, ensure_ascii=False)
    assert classic.decode(frame) == classic.decode(frame.encode()) == Subscribe((Wanted(entity, id),))
