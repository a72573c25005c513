"""NSQ's protocol without a socket: bytes in, frames out; commands as bytes."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entity_sync.brokers.nsq import protocol
from entity_sync.brokers.nsq.protocol import Failure, Frames, Incoming, ProtocolError, Response
from entity_sync.errors import ConfigurationError
from tests.brokers.nsq import wire

FRAMES = st.one_of(
    st.builds(Response, st.binary(max_size=40)),
    st.builds(lambda text: Failure(text.partition(" ")[0], text), st.text(max_size=40)),
    st.builds(Incoming, st.binary(min_size=16, max_size=16), st.binary(max_size=200)),
)


def encoded(frame: protocol.Frame) -> bytes:
    if isinstance(frame, Response):
        return wire.response(frame.data)
    return (
        wire.error(frame.text.encode()) if isinstance(frame, Failure) else wire.message(frame.body, frame.id)
    )


@given(st.lists(FRAMES, max_size=12), st.data())
def test_any_cut_gives_the_same_frames(frames, data):
    """However the network cuts the stream, the frames are those that were sent, and nothing is left over."""
    stream = b"".join(map(encoded, frames))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    parser, found = Frames(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += parser.feed(stream[start:end])
    assert found == frames
    assert parser.is_empty


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_garbage_is_refused_or_waits(pieces):
    """Whatever arrives, the parser answers with frames or its own error, nothing else."""
    parser = Frames()
    try:
        for piece in pieces:
            parser.feed(piece)
    except ProtocolError:
        pass


@pytest.mark.parametrize("size", [0, 3, protocol.MAX_FRAME + 1, 2**31, 2**32 - 1])
def test_impossible_sizes_are_refused_at_once(size):
    """A size that no frame has is refused on its four bytes, before anything is kept for it."""
    with pytest.raises(ProtocolError, match=str(size)):
        Frames().feed(struct.pack(">I", size))


@pytest.mark.parametrize("data", [wire.frame(3, b""), wire.frame(2**32 - 1, b"x"), wire.frame(2, b"x" * 25)])
def test_impossible_frames_are_refused(data):
    """An unknown type, and a message too short for its own head, are not NSQ."""
    with pytest.raises(ProtocolError):
        Frames().feed(data)


def test_a_large_frame_byte_by_byte_takes_linear_time():
    """A frame of 1 MiB that comes in 1,000 pieces is put together once, not once a piece."""
    body = bytes(1_048_576)
    data = wire.message(body)
    parser = Frames()
    for start in range(0, len(data) - 1_100, 1_100):
        assert parser.feed(data[start : start + 1_100]) == []
        assert parser._parts[-1] == data[start : start + 1_100]
    assert parser.feed(data[start + 1_100 :]) == [Incoming(b"0123456789abcdef", body)]


@pytest.mark.parametrize("name", ["a", "x" * 64, "A-b_c.9", "items#ephemeral", "." * 54 + "#ephemeral"])
def test_names_that_nsqd_allows(name):
    """Up to 64 characters, `#ephemeral` included."""
    assert protocol.topic_name(name) == protocol.channel_name(name) == name.encode()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 65,
        "bad topic",
        "a\nPUB b",
        "a\n",
        "ü",
        "a#b",
        "#ephemeral",
        "a#ephemeral#ephemeral",
        "a/b",
        "٣",
    ],
)
def test_names_that_nsqd_refuses(name):
    """What nsqd refuses, and above all what would be a second word or command, never reaches a command."""
    for check in (protocol.topic_name, protocol.channel_name):
        with pytest.raises(ConfigurationError, match="cannot be an NSQ"):
            check(name)


def test_commands():
    """Each command as nsqd reads it."""
    data = b"".join(
        [
            protocol.identify({"a": 1}),
            protocol.auth("s€"),
            protocol.subscribe(b"t", b"c#ephemeral"),
            protocol.ready(2_500),
            protocol.finish([b"0" * 16, b"1" * 16]),
            protocol.publish(b"t", [b"one\n"]),
            protocol.publish(b"t", [b"one", b"\n"]),
            protocol.NOP,
            protocol.CLOSE,
        ]
    )
    found, rest = wire.commands(data)
    assert rest == b""
    assert [tuple(one) for one in found] == [
        ("IDENTIFY", json.dumps({"a": 1}, separators=(",", ":")).encode()),
        ("AUTH", "s€".encode()),
        ("SUB t c#ephemeral", None),
        ("RDY 2500", None),
        ("FIN " + "0" * 16, None),
        ("FIN " + "1" * 16, None),
        ("PUB t", b"one\n"),
        ("MPUB t", b"\0\0\0\2\0\0\0\3one\0\0\0\1\n"),
        ("NOP", None),
        ("CLS", None),
    ]


@given(st.lists(st.integers(1, 300_000), max_size=30))
def test_batches_keep_order_and_limits(sizes):
    """Parts together are the whole, in order, and none with several bodies exceeds the limit."""
    bodies = [bytes(size) for size in sizes]
    parts = list(protocol.batches(bodies))
    assert [body for part in parts for body in part] == bodies
    assert all(parts)
    assert all(len(part) == 1 or sum(map(len, part)) <= protocol.MAX_BATCH_BYTES for part in parts)


def test_batches_of_many_small_bodies():
    """The number of bodies is limited as well."""
    assert [len(part) for part in protocol.batches([b"1"] * 25_000)] == [10_000, 10_000, 5_000]


@pytest.mark.parametrize("code", ["E_FIN_FAILED", "E_REQ_FAILED", "E_TOUCH_FAILED"])
def test_errors_that_answer_nothing(code):
    """Three errors are about a message, leave the connection open and answer no command; others end it."""
    assert not Failure(code, f"{code} 1").is_fatal
    assert Failure("E_INVALID", "E_INVALID").is_fatal
