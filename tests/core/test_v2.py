"""The v2 wire: what every frame means."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from entity_sync.core import v2
from entity_sync.core.messages import (
    Ack,
    Failure,
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


def one(message: Any) -> Upward:
    [found] = v2.decode(message if isinstance(message, str) else msgspec.json.encode(message).decode())
    return found


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ({"action": "subscribe", "body": {"entity": "a", "id": "1"}}, Subscribe((Wanted("a", "1"),))),
        (
            {
                "action": "subscribe",
                "ref": 2,
                "body": [{"entity": "a", "id": "1", "version": "v", "more": 1}],
            },
            Subscribe((Wanted("a", "1", "v"),), ref=2),
        ),
        (
            {"action": "subscribe", "body": [{"entity": "a", "id": "1", "version": None}]},
            Subscribe((Wanted("a", "1"),)),
        ),
        ({"action": "subscribe", "body": []}, Subscribe(())),
        ({"action": "unsubscribe", "body": {"entity": "a", "id": "1"}}, Unsubscribe((Wanted("a", "1"),))),
        (
            {"action": "unsubscribe", "body": {"entity": "a", "id": "1", "version": 5, "causes": "x"}},
            Unsubscribe((Wanted("a", "1"),)),
        ),
        ({"action": "secret", "ref": "r", "body": "hush"}, Secret("hush", ref="r")),
        ({"action": "secret", "body": None}, Secret(None)),
        ({"action": "resync", "body": {"view": 17, "rev": 41}}, Resync(17, 41)),
        ({"action": "message", "body": {"b": [1], "a": 2}}, Pass(b'{"b":[1],"a":2}')),
        ({"action": "message"}, Pass(b"null")),
        ({"action": "ping", "ref": 0}, Ping(ref=0)),
        ({"action": "ping"}, Ping()),
    ],
)
def test_meaning(message: Any, meaning: Upward):
    """Each action means what PROTOCOL.md says."""
    assert one(message) == meaning


@pytest.mark.parametrize(
    "frame",
    ["", "{", "nonsense", "NaN", '{"action":NaN}', '{"a":"\\ud800"}', "5", '"x"', "null", "[1]",
     "[" * 40 + "]" * 40,
     "[" * 5_000 + "]" * 5_000],
)  # fmt: skip
def test_bad_frame(frame: str):
    """What is no JSON object, is nested too deep or holds what JSON cannot, is bad_frame."""
    [message] = v2.decode(frame)
    assert isinstance(message, Invalid)
    assert message.code == "bad_frame"


def test_binary_is_bad():
    """A binary frame is bad_frame, even if it holds a message."""
    [message] = v2.decode(b'{"action":"ping"}')
    assert isinstance(message, Invalid)


def test_brackets_in_strings_are_no_depth():
    """Brackets in a string do not count as nesting; 32 levels are allowed."""
    assert isinstance(one({"action": "message", "body": '[{"' * 40}), Pass)
    assert isinstance(one('{"action":"message","body":' + "[" * 31 + "]" * 31 + "}"), Pass)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"x":', "}"), ('[{"x":', "}]")])
def test_depth(opening: str, closing: str):
    """A message may have 32 levels; one more is refused, whatever stands before it."""
    levels = opening.count("[") + opening.count("{")
    for deep, kind in ((30, Pass), (31, Invalid)):
        inner = opening * (deep // levels) + "[" * (deep % levels) + "1"
        inner += "]" * (deep % levels) + closing * (deep // levels)
        found = one('{"action":"message","body":[[],{"x":[]},[],' + inner + "]}")
        assert isinstance(found, kind)
        if isinstance(found, Invalid):
            assert (found.code, found.text) == ("bad_frame", "nested deeper than 32")


def test_many_brackets_are_no_depth():
    """Any number of lists and objects may stand beside one another."""
    assert isinstance(one({"action": "message", "body": [[], {}] * 100}), Pass)
    assert isinstance(one({"action": "message", "body": [[[]], {"x": {}}, "[[["] * 40}), Pass)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (b"{}", "binary frames are not part of this wire"),
        ("{", "not JSON"),
        ("5", "a message is an object"),
        ('{"ref":[]}', "ref is neither a string nor an integer"),
        ("{}", "a message needs an action"),
        ('{"action":5}', "action is not a string"),
        ('{"action":"fetch"}', "unknown action 'fetch'"),
        (f'{{"action":"{"x" * 50}"}}', f"unknown action '{'x' * 40}'"),
        ('{"action":"subscribe"}', "the body is a key or a list of keys"),
        ('{"action":"secret"}', "the secret is a string or null"),
        ('{"action":"resync"}', "the body is a view and a rev, both integers"),
    ],
)
def test_what_is_wrong(frame: str | bytes, text: str):
    """A refusal says what is wrong, and of an action nobody knows at most forty characters."""
    [found] = v2.decode(frame)
    assert isinstance(found, Invalid)
    assert found.text == text


@pytest.mark.parametrize(
    ("element", "text"),
    [
        (5, "a key is an object with entity and id"),
        ({"entity": 5, "id": "1"}, "entity is not a string"),
        ({"entity": "a", "id": 1}, "id is not a string"),
        ({"entity": "a", "id": "1", "version": 5}, "version is not a string"),
        ({"entity": "a", "id": "1", "causes": 1}, "causes is not true or false"),
    ],
)
def test_what_is_wrong_with_an_element(element: object, text: str):
    """A refused element says what is wrong with it; sending it again will not help."""
    found = one({"action": "subscribe", "body": [element]})
    assert isinstance(found, Subscribe)
    assert [(failure.text, failure.retryable) for failure in found.refused] == [(text, False)]


@pytest.mark.parametrize(
    ("message", "code", "ref"),
    [
        ({}, "unsupported", UNSET),
        ({"ref": 1, "body": 1}, "unsupported", 1),
        ({"action": "Subscribe", "ref": 1}, "unsupported", 1),
        ({"action": 5, "ref": "x"}, "bad_frame", "x"),
        ({"action": None}, "bad_frame", UNSET),
        ({"action": "ping", "ref": 1.5}, "bad_frame", UNSET),
        ({"action": "ping", "ref": True}, "bad_frame", UNSET),
        ({"action": "ping", "ref": None}, "bad_frame", UNSET),
        ({"action": "subscribe", "ref": 1}, "bad_body", 1),
        ({"action": "unsubscribe", "ref": 1, "body": "x"}, "bad_body", 1),
        ({"action": "secret", "ref": 1, "body": 5}, "bad_body", 1),
        ({"action": "secret", "ref": 1}, "bad_body", 1),
        ({"action": "resync", "ref": 1, "body": {"view": "17", "rev": 1}}, "bad_body", 1),
        ({"action": "resync", "ref": 1, "body": {"view": True, "rev": 1}}, "bad_body", 1),
        ({"action": "resync", "ref": 1, "body": []}, "bad_body", 1),
        ({"action": "resync", "ref": 1}, "bad_body", 1),
        ({"action": "resync", "ref": 1, "body": {"view": 17}}, "bad_body", 1),
        ({"action": "resync", "ref": 1, "body": {"rev": 1}}, "bad_body", 1),
        ({"action": "resync", "ref": 1, "body": {"view": 17, "rev": 1.0}}, "bad_body", 1),
        ({"action": "resync", "ref": 1, "body": {"view": None, "rev": None}}, "bad_body", 1),
        ({"action": "subscribe", "ref": 1, "body": None}, "bad_body", 1),
        ({"action": "subscribe", "ref": 1, "body": 5}, "bad_body", 1),
        ({"action": "unsubscribe", "ref": 1}, "bad_body", 1),
        ({"action": "secret", "ref": 1, "body": []}, "bad_body", 1),
        ({"action": "secret", "ref": 1, "body": {}}, "bad_body", 1),
        ({"action": "secret", "ref": 1, "body": False}, "bad_body", 1),
        ({"action": "", "ref": 1}, "unsupported", 1),
        ({"action": "ping", "ref": [1]}, "bad_frame", UNSET),
        ({"action": "ping", "ref": {}}, "bad_frame", UNSET),
        ({"action": []}, "bad_frame", UNSET),
    ],
)
def test_refused(message: Any, code: str, ref: Any):
    """A wrong message has a code, and its ref where it had a right one."""
    found = one(message)
    assert isinstance(found, Invalid)
    assert (found.code, found.ref) == (code, ref)


@pytest.mark.parametrize("kind", [Subscribe, Unsubscribe])
@pytest.mark.parametrize(
    ("element", "code"),
    [
        (5, "bad_body"),
        (None, "bad_body"),
        ([], "bad_body"),
        ("a/1", "bad_body"),
        ({}, "bad_body"),
        ({"entity": None, "id": "1"}, "bad_body"),
        ({"entity": "a", "id": None}, "bad_id"),
        ({"entity": "a", "id": ["1"]}, "bad_id"),
        ({"id": "1"}, "bad_body"),
        ({"entity": 5, "id": "1"}, "bad_body"),
        ({"entity": "a"}, "bad_id"),
        ({"entity": "a", "id": 7}, "bad_id"),
    ],
)
def test_bad_element(element: Any, code: str, kind: type[Subscribe | Unsubscribe]):
    """A wrong element of a list is refused as it was sent, and the others are kept."""
    body = [element, {"entity": "a", "id": "1"}]
    message = one({"action": kind.__name__.lower(), "body": body, "ref": 5})
    assert isinstance(message, kind)
    assert message.ref == 5
    assert message.wanted == (Wanted("a", "1"),)
    [failure] = message.refused
    sent = element if isinstance(element, dict) else {}
    assert (failure.code, failure.entity, failure.id) == (
        code,
        sent.get("entity", UNSET),
        sent.get("id", UNSET),
    )


@pytest.mark.parametrize("wish", [{"version": []}, {"version": 5}, {"causes": None}, {"causes": 1}])
def test_bad_wish(wish: dict[str, Any]):
    """What a subscribe says of the state that it wants has its type too; the key is echoed."""
    message = one({"action": "subscribe", "body": {"entity": "a", "id": "1", **wish}})
    assert isinstance(message, Subscribe)
    assert message.wanted == ()
    [failure] = message.refused
    assert (failure.code, failure.entity, failure.id) == ("bad_body", "a", "1")


def test_list_is_several_messages():
    """An array is its messages in order; an empty one is none; a wrong element is one Invalid."""
    ping, wrong, pong = v2.decode('[{"action":"ping","ref":1}, 5, {"action":"ping","ref":2}]')
    assert (ping, pong) == (Ping(ref=1), Ping(ref=2))
    assert isinstance(wrong, Invalid)
    assert v2.decode("[]") == []


def test_much_that_is_wrong_is_answered_together():
    """Beyond a hundred wrong messages and keys a frame is told so once; what is right in it is kept."""
    key = {"entity": "a", "id": "1"}
    subscribe = {"action": "subscribe", "body": [0] * 70 + [key]}
    ping = {"action": "ping"}
    found = v2.decode(json.dumps([subscribe, 0, subscribe, 0, ping, subscribe]))
    one, wrong, two, pinged, three, rest = found
    assert [
        (message.wanted, len(message.refused))
        for message in (one, two, three)
        if isinstance(message, Subscribe)
    ] == [((Wanted("a", "1"),), 70), ((Wanted("a", "1"),), 29), ((Wanted("a", "1"),), 0)]
    assert isinstance(wrong, Invalid)
    assert pinged == Ping()
    assert isinstance(rest, Invalid)
    assert (rest.code, rest.text, rest.ref) == ("bad_frame", "112 more messages and keys are wrong", UNSET)
    exactly = v2.decode(json.dumps([0] * 100))
    assert len(exactly) == 100
    assert len(v2.decode(json.dumps([0] * 101))) == 101


NAMES = st.sampled_from(["action", "body", "ref", "entity", "id", "version", "view", "rev"])
WORDS = st.sampled_from(["subscribe", "unsubscribe", "secret", "resync", "message", "ping"])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(), inner, max_size=5),
    max_leaves=20,
)
MESSAGE = st.fixed_dictionaries({"action": WORDS}, optional={"body": JSON, "ref": JSON})


@settings(deadline=None)
@given(
    st.text(st.characters(codec=None))
    | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape"))
    | (JSON | MESSAGE | st.lists(MESSAGE)).map(json.dumps)
)
def test_any_text(text: str):
    """No text raises, whatever JSON it is, and what it means is as many messages as it has."""
    found = v2.decode(text)
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        value = None
    assert len(found) == (len(value) if isinstance(value, list) else 1)


@settings(deadline=None)
@given(st.binary())
def test_any_bytes(data: bytes):
    """A binary frame is one bad_frame, whatever it holds."""
    [message] = v2.decode(data)
    assert isinstance(message, Invalid)
    assert message.code == "bad_frame"


@settings(deadline=None)
@given(MESSAGE)
def test_any_message(message: dict[str, Any]):
    """A known action is understood or refused with its own ref, and the application's body is as sent."""
    found = one(json.dumps(message))
    ref = message.get("ref", UNSET)
    if ref is not UNSET and type(ref) not in (str, int):
        assert isinstance(found, Invalid)
        assert (found.code, found.ref) == ("bad_frame", UNSET)
        return
    assert found.ref == ref
    if isinstance(found, Invalid):
        assert found.code == "bad_body"
    elif isinstance(found, Pass):
        assert msgspec.json.decode(found.data) == message.get("body")


@pytest.mark.parametrize("number", ["9" * 30, "-" + "9" * 30, "1e308", "-0.0", "0.1"])
def test_numbers_of_any_size(number: str):
    """A ref or a body of any size that JSON can hold comes through as it is."""
    passed = one(f'{{"action":"message","body":{number}}}')
    assert isinstance(passed, Pass)
    assert json.loads(passed.data) == json.loads(number)
    if number.lstrip("-").isdigit():
        assert one(f'{{"action":"ping","ref":{number}}}') == Ping(ref=int(number))


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([], None),
        (["entity-sync.v2"], "entity-sync.v2"),
        (["x", "entity-sync.v2"], "entity-sync.v2"),
        (["Entity-Sync.v2", "entity-sync.v2.msgpack"], None),
    ],
)
def test_negotiation(offered: list[str], chosen: str | None):
    """Only the exact name is chosen, wherever it stands."""
    assert v2.select(offered) == chosen


def test_what_is_absent_is_left_out():
    """An ack without ref and failures is its event alone; a failure echoes what was sent."""
    assert v2.encode(Ack()) == b'{"event":"ack"}'
    failure = Failure("bad_id", "no", False, "a", 5)
    assert msgspec.json.decode(v2.encode(Ack(ref=0, failed=(failure,)))) == {
        "event": "ack", "ref": 0,
        "failed": [{"code": "bad_id", "text": "no", "retryable": False, "entity": "a", "id": 5}],
    }  # fmt: skip
