"""The server's frames, as the client reads them."""

from __future__ import annotations

import msgspec
import pytest

from entity_sync.client.incoming import Ack, Fresh, Goodbye, Reply, Stale, Unreadable, Welcome, decode
from entity_sync.core import messages as server
from entity_sync.core.v2 import encode
from entity_sync.core.wirerows import WireRow


@pytest.mark.parametrize(
    "frame",
    [
        '{"event":"novelty","x":1}',
        "{}",
        '{"event":5}',
        '{"event":null}',
        '{"event":"beat","link_ms":1}',
        '{"event":"pong"}',
        "[]",
    ],
)
def test_unknown_is_ignored(frame: str):
    """An event that this client does not know means nothing to it."""
    assert decode(frame) == []


def test_unknown_members_are_ignored():
    """Members that this client does not know change nothing, and absent ones have their meaning."""
    assert decode('{"event":"stale","reason":"later","age_ms":1,"mood":[]}') == [Stale()]
    assert decode('{"event":"goodbye","code":"drain"}') == [Goodbye(0)]
    assert decode('{"event":"message"}') == [Reply(None)]


def test_an_array_is_several():
    """The messages of an array are taken in order, with space around it or not."""
    assert decode(' \n[{"event":"fresh"}, {"event":"?"}, {"event":"ack","ref":"k1"}]') == [
        Fresh(),
        Ack("k1"),
    ]


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "nonsense",
        "5",
        '["x"]',
        "[" * 100_000,
        b'{"event":"fresh"}',
        '{"event":"snapshot","view":1}',
        '{"event":"goodbye","retry_after_ms":"soon"}',
        '{"event":"ack","failed":[{"code":"bad_id","entity":[],"id":"x"}]}',
        '[{"event":"fresh"},{"event":"current"}]',
    ],
)
def test_what_cannot_be_read_is_told(frame: str | bytes):
    """What is not this wire is never taken for nothing."""
    with pytest.raises(Unreadable):
        decode(frame)


@pytest.mark.parametrize(
    "message",
    [
        server.Welcome(
            node="n", beat_ms=1, stale_ms=2, limits=server.Limits(incoming=3, subs=4, view=5), features=("x",)
        ),
        server.Ack(ref=1, failed=(server.Failure("bad_id", "t", False, "orders", "x"),)),
        server.Snapshot(
            view=1,
            entity="o",
            id="7",
            rev=1,
            version="v",
            rows=(WireRow(msgspec.Raw(b'{"n":1}')), WireRow(msgspec.Raw(b"1"), "u", "9")),
            gone=False,
        ),
        server.Current(view=1, entity="o", id="7", rev=1, version="v"),
        server.Denied(entity="o", id="7", code="denied"),
        server.Error(code="load", text="t", retryable=True, ref="r"),
        server.Stale(reason="load", age_ms=1, entity="o", id="7"),
        server.Fresh(view=1),
        server.Reply(body=msgspec.Raw(b"null"), ref=1),
        server.Expiring(in_ms=1),
        server.Goodbye(code="drain", retry_after_ms=1),
    ],
)
def test_what_the_server_says_is_read(message: server.Downward):
    """Every message that the server's own classes write is one that the client reads, member by member."""
    [read] = decode(encode(message).decode())
    written, found = msgspec.json.decode(encode(message)), msgspec.to_builtins(read)
    assert found["event"] == written["event"]
    for name in found.keys() & written.keys() - {"rows", "failed", "limits"}:
        assert found[name] == written[name]


def test_the_welcome_sets_the_bounds():
    """The silence that is staleness and the longest frame are the server's to say."""
    frame = '{"event":"welcome","node":"n","beat_ms":1,"stale_ms":250,"limits":{"in":99,"subs":1,"view":1}}'
    [welcome] = decode(frame)
    assert isinstance(welcome, Welcome)
    assert (welcome.stale_ms, welcome.limits.incoming) == (250, 99)
