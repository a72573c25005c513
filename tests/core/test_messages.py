"""The downward messages as they stand on the wire, and what the upward ones hide."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from entity_sync.core import v2
from entity_sync.core.messages import (
    Ack,
    Beat,
    Current,
    Delta,
    Denied,
    Downward,
    Error,
    Expiring,
    Failure,
    Fresh,
    Goodbye,
    Limits,
    Pong,
    Reply,
    Secret,
    Snapshot,
    Stale,
    Welcome,
)  # fmt: skip
from entity_sync.core.wirerows import Patch, Put, WireKey, WireRow

LIMITS = Limits(incoming=65_536, subs=1_000, view=524_288)
ROW = WireRow(msgspec.Raw(b'{"b":1,"a":2}'))

WIRE: list[tuple[Downward, str]] = [
    (
        Welcome(node="n", beat_ms=5_000, stale_ms=15_000, limits=LIMITS, features=()),
        (
            '{"event":"welcome","node":"n","beat_ms":5000,"stale_ms":15000,'
            '"limits":{"in":65536,"subs":1000,"view":524288},"features":[]}'
        ),
    ),
    (Ack(), '{"event":"ack"}'),
    (Ack(ref=0), '{"event":"ack","ref":0}'),
    (Ack(ref=""), '{"event":"ack","ref":""}'),
    (
        Ack(ref=1, failed=(Failure("bad_id", "no", False, "a", 5), Failure("bad_body", "no", False))),
        (
            '{"event":"ack","ref":1,"failed":['
            '{"code":"bad_id","text":"no","retryable":false,"entity":"a","id":5},'
            '{"code":"bad_body","text":"no","retryable":false}]}'
        ),
    ),
    (
        Ack(failed=(Failure("bad_body", "no", False, None, [1]),)),
        '{"event":"ack","failed":[{"code":"bad_body","text":"no","retryable":false,"entity":null,"id":[1]}]}',
    ),
    (
        Snapshot(view=17, entity="a", id="1", rev=42, version="v", rows=(ROW,), gone=False),
        (
            '{"event":"snapshot","view":17,"entity":"a","id":"1","rev":42,"version":"v",'
            '"rows":[{"data":{"b":1,"a":2}}],"gone":false}'
        ),
    ),
    (
        Snapshot(view=17, entity="a", id="1", rev=42, version="v", rows=(), gone=True),
        '{"event":"snapshot","view":17,"entity":"a","id":"1","rev":42,"version":"v","rows":[],"gone":true}',
    ),
    (
        Delta(
            view=17,
            base=42,
            rev=43,
            version="v",
            drop=(WireKey("b", "1"),),
            patch=(Patch(set_={"a": msgspec.Raw(b"1")}, unset=("c",)),),
            put=(Put(msgspec.Raw(b"{}"), "b", "2", 0),),
            order=(WireKey("b", "2"), WireKey()),
        ),
        (
            '{"event":"delta","view":17,"base":42,"rev":43,"version":"v","drop":[{"entity":"b","id":"1"}],'
            '"patch":[{"set":{"a":1},"unset":["c"]}],"put":[{"data":{},"entity":"b","id":"2","at":0}],'
            '"order":[{"entity":"b","id":"2"},{}]}'
        ),
    ),
    (
        Delta(view=17, base=1, rev=2, version="v", patch=(Patch(unset=("c",)), Patch(set_={}))),
        '{"event":"delta","view":17,"base":1,"rev":2,"version":"v","patch":[{"unset":["c"]},{}]}',
    ),
    (
        Current(view=17, entity="a", id="1", rev=43, version="v"),
        '{"event":"current","view":17,"entity":"a","id":"1","rev":43,"version":"v"}',
    ),
    (Denied(entity="a", id="1", code="denied"), '{"event":"denied","entity":"a","id":"1","code":"denied"}'),
    (
        Error(code="bad_frame", text="no", retryable=False, ref="r"),
        '{"event":"error","code":"bad_frame","text":"no","retryable":false,"ref":"r"}',
    ),
    (
        Error(code="too_large", text="no", retryable=False, entity="a", id="1"),
        '{"event":"error","code":"too_large","text":"no","retryable":false,"entity":"a","id":"1"}',
    ),
    (
        Stale(reason="load", age_ms=9, entity="a", id="1", view=17),
        '{"event":"stale","reason":"load","age_ms":9,"entity":"a","id":"1","view":17}',
    ),
    (Stale(reason="broker", age_ms=9), '{"event":"stale","reason":"broker","age_ms":9}'),
    (Fresh(), '{"event":"fresh"}'),
    (Fresh(view=17), '{"event":"fresh","view":17}'),
    (Beat(link_ms=0), '{"event":"beat","link_ms":0}'),
    (Pong(), '{"event":"pong"}'),
    (Pong(ref=-1), '{"event":"pong","ref":-1}'),
    (Reply(body=msgspec.Raw(b"[null]"), ref=1), '{"event":"message","body":[null],"ref":1}'),
    (Expiring(in_ms=60_000), '{"event":"expiring","in_ms":60000}'),
    (
        Goodbye(code="drain", retry_after_ms=1_400),
        '{"event":"goodbye","code":"drain","retry_after_ms":1400}',
    ),
]


@pytest.mark.parametrize(("message", "text"), WIRE, ids=lambda one: "" if isinstance(one, str) else None)
def test_wire(message: Downward, text: str):
    """Each downward message is this JSON; what was not given is left out, a falsy ref is not."""
    assert v2.encode(message).decode() == v2.frame(message).text == text


def test_every_message_is_shown():
    """The list above has every downward message."""
    assert {type(message) for message, _ in WIRE} == set(get_args(Downward))


@pytest.mark.parametrize("message", [message for message, _ in WIRE], ids=lambda one: type(one).__name__)
def test_messages_do_not_change(message: Any):
    """A message is shared by sessions, so it cannot be changed."""
    for name in message.__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(message, name, None)


def test_a_row_of_another_key_names_it():
    """A row that is not the view's own says whose it is."""
    assert v2.encode(WireRow(msgspec.Raw(b"1"), "a", "1")) == b'{"data":1,"entity":"a","id":"1"}'


def test_a_secret_does_not_show():
    """A secret's repr tells its ref only."""
    assert repr(Secret("hush", ref=5)) == "Secret(value=***, ref=5)"
