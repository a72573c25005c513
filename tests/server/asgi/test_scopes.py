"""The ASGI door on bare scopes: mount points, the lifespan, and what is not started."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from entity_sync import ConfigurationError, EntitySync, Settings
from entity_sync.testing import settled

Message = MutableMapping[str, Any]


class Peer:
    """A server's side of one scope."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.received: asyncio.Queue[Message] = asyncio.Queue()

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    def start(self, sync: EntitySync, scope: dict[str, Any]) -> asyncio.Task[None]:
        return asyncio.create_task(sync(scope, self.received.get, self.send))


def shop(**options: Any) -> EntitySync:
    sync = EntitySync(**options)

    @sync.entity("items")
    async def item(id: str) -> dict[str, str]:
        return {"id": id}

    return sync


def websocket(path: str, root_path: str = "", **more: Any) -> dict[str, Any]:
    return {
        "type": "websocket", "path": path, "root_path": root_path, "query_string": b"", "headers": [],
        "subprotocols": ["entity-sync.v2"], **more,
    }  # fmt: skip


async def answer_to(sync: EntitySync, scope: dict[str, Any]) -> Message:
    peer = Peer()
    peer.received.put_nowait({"type": "websocket.connect"})
    peer.received.put_nowait({"type": "websocket.disconnect", "code": 1001})
    await peer.start(sync, scope)
    return peer.sent[0]


@pytest.mark.parametrize(
    ("path", "root_path", "is_accepted"),
    [
        ("/", "", True),
        ("", "", True),
        ("/live", "/live", True),
        ("/live/", "/live", True),
        ("/api/live/", "/api/live", True),
        ("/", "/live", True),  # a framework that cuts the root off the path
        ("/live/more", "/live", False),
        ("/lively", "/live", False),
        ("/live//", "/live", False),
        ("/more", "", False),
    ],
)
async def test_exactly_the_mount_point(path: str, root_path: str, is_accepted: bool):
    """The mount point is accepted with and without its slash, and nothing below or beside it."""
    sync = shop()
    async with sync:
        answer = await answer_to(sync, websocket(path, root_path))
    assert (answer["type"] == "websocket.accept") is is_accepted


async def test_refusals_tell_why_where_the_server_lets_them():
    """With the response extension a refusal has its status and text; without, the close has the text."""
    sync = shop()
    async with sync:
        extensions: dict[str, Any] = {"websocket.http.response": {}}
        told = await answer_to(sync, websocket("/more", extensions=extensions))
        assert (told["type"], told["status"]) == ("websocket.http.response.start", 404)
        assert (await answer_to(sync, websocket("/more")))["reason"] == "nothing lives at this path"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({b"origin": b"null"}, "comes from origin 'null'; EntitySync(origins="),
        ({b"cookie": b"a=b"}, "has cookies and no Origin"),
    ],
)
async def test_a_refused_page_is_logged(
    headers: dict[bytes, bytes], said: str, caplog: pytest.LogCaptureFixture
):
    """A browser tells nobody why: the log does, for the first, second and fourth."""
    sync = shop()
    async with sync:
        for _ in range(6):
            scope = websocket("/", headers=[(b"host", b"localhost:8000"), *headers.items()])
            assert (await answer_to(sync, scope))["type"] == "websocket.close"
    assert caplog.text.count("a WebSocket that asked for host 'localhost:8000' was refused: it ") == 3
    assert caplog.text.count(said) == 3


async def test_not_started_is_refused_with_the_reason(caplog: pytest.LogCaptureFixture):
    """A mounted application that nobody started refuses, and its log says what to change."""
    assert (await answer_to(shop(), websocket("/")))["type"] == "websocket.close"
    assert "lifespan=sync.lifespan" in caplog.text


async def test_own_lifespan():
    """Served as an application of its own it starts and stops with its server."""
    sync, peer = shop(), Peer()
    running = peer.start(sync, {"type": "lifespan"})
    peer.received.put_nowait({"type": "lifespan.startup"})
    while not peer.sent:
        await asyncio.sleep(0)
    await settled(sync)
    peer.received.put_nowait({"type": "lifespan.shutdown"})
    await running
    assert [message["type"] for message in peer.sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


async def test_failed_start_is_told_to_the_server():
    """A configuration mistake fails the server's start with its text."""
    sync, peer = shop(), Peer()

    @sync.authenticate
    async def who(secret: str | None, connection: object) -> str:
        return ""

    peer.received.put_nowait({"type": "lifespan.startup"})
    with pytest.raises(ConfigurationError):
        await peer.start(sync, {"type": "lifespan"})
    [failed] = peer.sent
    assert failed["type"] == "lifespan.startup.failed"
    assert "public=True" in failed["message"]
    with pytest.raises(ConfigurationError):
        async with sync:
            pass


class Panic(BaseException):
    """As an extension written in Rust raises it."""


@pytest.mark.parametrize("kind", [LookupError, asyncio.CancelledError, Panic])
async def test_failed_resources_are_told_to_the_server(kind: type[BaseException]):
    """Whatever the application's own resources raise as they open or close, the server hears it and where."""
    fails = {"startup"}

    @asynccontextmanager
    async def pool(_sync: EntitySync) -> AsyncIterator[None]:
        if "startup" in fails:
            raise kind("the database is away")
        yield
        raise kind("the pool was closed before")

    sync, peer = shop(lifespan=pool), Peer()
    peer.received.put_nowait({"type": "lifespan.startup"})
    with pytest.raises(kind):
        await peer.start(sync, {"type": "lifespan"})
    fails.clear()
    for name in ("startup", "shutdown"):
        peer.received.put_nowait({"type": f"lifespan.{name}"})
    with pytest.raises(kind):
        await peer.start(sync, {"type": "lifespan"})
    refused, complete, failed = peer.sent
    assert complete["type"] == "lifespan.startup.complete"
    for message, name, said in (
        (refused, "startup", f"{kind.__name__}: the database is away"),
        (failed, "shutdown", f"{kind.__name__}: the pool was closed before"),
    ):
        assert message["type"] == f"lifespan.{name}.failed"
        assert message["message"].startswith("Traceback")
        assert "in pool" in message["message"]
        assert said in message["message"]
    assert not sync.is_running


async def test_a_server_that_gives_up_is_told_nothing():
    """One that cancels the start waits for no word of it."""
    opens = asyncio.Event()

    @asynccontextmanager
    async def pool(_sync: EntitySync) -> AsyncIterator[None]:
        opens.set()
        await asyncio.Event().wait()
        yield

    sync, peer = shop(lifespan=pool), Peer()
    peer.received.put_nowait({"type": "lifespan.startup"})
    running = peer.start(sync, {"type": "lifespan"})
    await opens.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert peer.sent == []


async def test_writes_stop_when_the_peer_is_gone():
    """A send that fails because the peer is gone ends the connection quietly."""
    sync = shop()

    class Gone(Peer):
        async def send(self, message: Message) -> None:
            await super().send(message)
            if message["type"] == "websocket.send":
                raise RuntimeError("the peer is gone")

    async with sync:
        peer = Gone()
        peer.received.put_nowait({"type": "websocket.connect"})
        running = peer.start(sync, websocket("/"))
        while len(peer.sent) < 2:
            await asyncio.sleep(0)
        peer.received.put_nowait({"type": "websocket.disconnect", "code": 1006})
        await running
        assert not sync.node.members


class Slow(Peer):
    """A server that takes its time to accept."""

    def __init__(self, may_accept: asyncio.Event) -> None:
        super().__init__()
        self._may_accept = may_accept
        self.received.put_nowait({"type": "websocket.connect"})

    async def send(self, message: Message) -> None:
        if message["type"] == "websocket.accept":
            await self._may_accept.wait()
        await super().send(message)

    def events(self) -> list[Any]:
        """Of v2's messages and of the close."""
        texts = [json.loads(message["text"]) for message in self.sent if "text" in message]
        closes = [(message["code"], message["reason"]) for message in self.sent if "code" in message]
        return [message["event"] for message in texts] + closes


@pytest.mark.parametrize(("offered", "told"), [("entity-sync.v2", ["welcome", "goodbye"]), ("none", [])])
async def test_a_handshake_that_outlasts_its_node(offered: str, told: list[str]):
    """Who is accepted when the node is draining, or gone, is told so as all were, and does not join it."""
    sync, may_accept = shop(), asyncio.Event()
    peer = Slow(may_accept)
    async with sync:
        node = sync.node
        running = peer.start(sync, websocket("/", subprotocols=[offered]))
        await asyncio.sleep(0)
    may_accept.set()
    await asyncio.wait_for(running, 30)
    assert peer.events() == [*told, (1012, "drain")]
    assert not node.members


async def test_handshakes_at_the_same_time_keep_the_limit():
    """Those that were accepted for the last place at once share it not: the first has it."""
    sync, may_accept = shop(settings=Settings(max_connections=1)), asyncio.Event()
    async with sync:
        peers = [Slow(may_accept) for _ in range(3)]
        first, *others = [peer.start(sync, websocket("/")) for peer in peers]
        await asyncio.sleep(0)
        may_accept.set()
        await asyncio.wait_for(asyncio.gather(*others), 30)
        assert [peer.events() for peer in peers] == [["welcome"], [(1013, "full")], [(1013, "full")]]
        assert len(sync.node.members) == 1
        peers[0].received.put_nowait({"type": "websocket.disconnect", "code": 1001})
        await first


async def test_a_send_that_fails_strangely(caplog: pytest.LogCaptureFixture):
    """Whatever a server raises where it sends: the log has it, and the connection ends at once, since the
    reader may never be told."""
    sync = shop()

    class Disconnected(Exception):
        """What a server may call a peer that is gone."""

    class Gone(Peer):
        async def send(self, message: Message) -> None:
            await super().send(message)
            if message["type"] == "websocket.send":
                raise Disconnected("code 1006")

    async with sync:
        peer = Gone()
        peer.received.put_nowait({"type": "websocket.connect"})
        async with asyncio.timeout(30):
            await peer.start(sync, websocket("/"))
        assert not sync.node.members
    assert [message["type"] for message in peer.sent] == ["websocket.accept", "websocket.send"]
    [record] = [record for record in caplog.records if record.name == "entity_sync.asgi"]
    assert record.levelname == "WARNING"
    assert "Disconnected: code 1006" in record.getMessage()


async def test_a_send_that_makes_something_else_of_its_end(caplog: pytest.LogCaptureFixture):
    """A client that leaves while a send hangs, on a server that does not let it be cancelled as such: the
    application returns as always, and there is nothing to log."""
    sync = shop()

    class Hanging(Peer):
        async def send(self, message: Message) -> None:
            await super().send(message)
            if message["type"] == "websocket.send":
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    raise LookupError("the send was given up") from None

    async with sync:
        peer = Hanging()
        peer.received.put_nowait({"type": "websocket.connect"})
        running = peer.start(sync, websocket("/"))
        while len(peer.sent) < 2:
            await asyncio.sleep(0)
        peer.received.put_nowait({"type": "websocket.disconnect", "code": 1006})
        await running
        assert not sync.node.members
    assert caplog.text == ""


async def test_server_that_cancels():
    """A server that cancels the application ends the connection."""
    sync, peer = shop(), Peer()
    async with sync:
        peer.received.put_nowait({"type": "websocket.connect"})
        running = peer.start(sync, websocket("/"))
        while not peer.sent:
            await asyncio.sleep(0)
        assert len(sync.node.members) == 1
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not sync.node.members


@pytest.mark.parametrize(("method", "status"), [("GET", 426), ("POST", 405)])
async def test_plain_http(method: str, status: int):
    """Plain HTTP is told that only WebSockets live here."""
    peer = Peer()
    await peer.start(shop(), {"type": "http", "method": method, "path": "/"})
    assert peer.sent[0]["status"] == status
