"""What PROTOCOL.md says of v2, on the real session and hub."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Coroutine
from types import FrameType
from typing import Any

import pytest

from entity_sync import AccessDenied, ClientMessage, ConnectionInfo, EntitySync, Settings
from entity_sync.errors import ConnectionLost
from entity_sync.testing import FakeClock, MemoryClient, connect, settled
from tests.hub.held import all_but_asked


class Shop:
    """An application with everything in it, whose faults a test switches on."""

    def __init__(self, **settings: Any) -> None:
        self.rows: dict[str, Any] = {"1": {"n": 1}, "2": {"n": 2}}
        self.loads: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.doubt = asyncio.Event()
        self.doubt.set()
        self.clock = FakeClock()
        self.sync = EntitySync(settings=Settings(**settings), clock=self.clock)
        self.items = self.sync.entity("items", public=True)(self.item)
        self.sync.entity("own")(self.own)
        self.sync.authenticate(self.who)
        self.sync.on_message(self.answer)

    async def item(self, id: int) -> Any:
        self.loads.append(str(id))
        await self.gate.wait()
        row = self.rows.get(str(id))
        if isinstance(row, Exception):
            raise row
        return row

    async def own(self, id: str, who: str) -> dict[str, str]:
        return {"for": who}

    async def who(self, secret: str | None, _connection: ConnectionInfo) -> str:
        await self.doubt.wait()
        if secret == "wrong":
            raise AccessDenied("hush-hush")
        if secret == "broken":
            raise RuntimeError("hush-hush")
        return secret or "nobody"

    async def answer(self, message: ClientMessage) -> Any:
        body = message.json()
        if body == "raise":
            raise RuntimeError("hush-hush")
        if body == "cancel":
            raise asyncio.CancelledError("hush-hush")
        return {"strange": object()} if body == "strange" else body

    def set(self, id: str, row: Any) -> None:
        self.rows[id] = row


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    async with shop.sync:
        yield shop


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[MemoryClient]:
    async with connect(shop.sync) as client:
        yield client


def key(id: str, entity: str = "items", **more: Any) -> dict[str, Any]:
    return {"entity": entity, "id": id, **more}


async def subscribe(client: MemoryClient, *bodies: dict[str, Any], ref: Any = 1) -> None:
    await client.send({"action": "subscribe", "ref": ref, "body": list(bodies)})


def names(messages: list[Any]) -> list[str]:
    return [message["event"] for message in messages]


# Answers and subscribing


async def test_ack_comes_before_the_data_it_causes(client: MemoryClient):
    """Every subscribe gets one ack, before its data, even where the data is there already."""
    for _ in range(2):
        await subscribe(client, key("1"))
        assert names([await client.receive(), await client.receive()]) == ["ack", "snapshot"]


async def test_first_load_is_joined(shop: Shop, client: MemoryClient):
    """Who asks without a version while the first load runs joins it."""
    shop.gate.clear()
    async with connect(shop.sync) as other:
        await subscribe(client, key("1"))
        await asyncio.sleep(0)
        await subscribe(other, key("1"))
        shop.gate.set()
        for each in (client, other):
            await each.receive_until("snapshot")
    assert shop.loads == ["1"]


async def test_live_view_is_not_reloaded(shop: Shop, client: MemoryClient):
    """Without a version, and with the version that is held, a live view answers without a load."""
    await subscribe(client, key("1"))
    version = (await client.receive_until("snapshot"))["version"]
    async with connect(shop.sync) as other:
        await subscribe(other, key("1"))
        await other.receive_until("snapshot")
        await subscribe(other, key("1", version=version))
        assert (await other.receive_until("current"))["version"] == version
    assert shop.loads == ["1"]


@pytest.mark.parametrize("version", ["", "another"])
async def test_other_version_waits_for_a_later_load(shop: Shop, client: MemoryClient, version: str):
    """With another version the answer is from a load begun after the subscribe, not from the view."""
    await subscribe(client, key("1"))
    await client.receive_until("snapshot")
    shop.set("1", {"n": 9})  # nobody notified: only a load of its own can show it
    async with connect(shop.sync) as other:
        await subscribe(other, key("1", version=version))
        assert (await other.receive_until("snapshot"))["rows"] == [{"data": {"n": 9}}]
    assert shop.loads == ["1", "1"]


async def test_other_version_does_not_join(shop: Shop, client: MemoryClient):
    """With another version a running load is not enough: it may have read before."""
    shop.gate.clear()
    await subscribe(client, key("1"))
    await asyncio.sleep(0)
    async with connect(shop.sync) as other:
        await subscribe(other, key("1", version="another"))
        shop.gate.set()
        await other.receive_until("snapshot")
    assert shop.loads == ["1", "1"]


async def test_equal_after_all(shop: Shop, client: MemoryClient):
    """If the later load finds the version that the client holds, it needs no body."""
    await subscribe(client, key("1"))
    version = (await client.receive_until("snapshot"))["version"]
    shop.set("1", {"n": 9})
    await shop.items.notify(1)
    await client.receive_until("snapshot")
    shop.set("1", {"n": 1})
    async with connect(shop.sync) as other:
        await subscribe(other, key("1", version=version))
        assert (await other.receive_until("current"))["version"] == version


async def test_notify_without_a_difference_is_silent(shop: Shop, client: MemoryClient):
    """A notify that changes nothing sends nothing on v2."""
    await subscribe(client, key("1"))
    await settled(shop.sync)
    client.pending()
    await shop.items.notify(1)
    await settled(shop.sync)
    assert client.pending() == []


async def test_subscribing_twice_never_doubles(shop: Shop, client: MemoryClient):
    """However often a key was subscribed, a change is one frame."""
    for _ in range(3):
        await subscribe(client, key("1"))
    await settled(shop.sync)
    client.pending()
    shop.set("1", {"n": 5})
    await shop.items.notify(1)
    await settled(shop.sync)
    assert names(client.pending()) == ["snapshot"]


async def test_limit_of_subscriptions():
    """Beyond limits.subs a key is refused with `limit`; unsubscribing makes room at once."""
    shop = Shop(max_subscriptions=1)
    async with shop.sync, connect(shop.sync) as client:
        await subscribe(client, key("1"), key("2"))
        assert [one["code"] for one in (await client.receive())["failed"]] == ["limit"]
        await client.send({"action": "unsubscribe", "body": key("1")})
        await subscribe(client, key("2"), ref=2)
        await client.receive_until("ack")
        assert "failed" not in await client.receive_until("ack")


async def test_resync_needs_no_load(shop: Shop, client: MemoryClient):
    """resync brings the view's newest state whole, without a load."""
    await subscribe(client, key("1"))
    snapshot = await client.receive_until("snapshot")
    await client.send({"action": "resync", "body": {"view": snapshot["view"], "rev": 0}})
    assert await client.receive() == snapshot
    assert shop.loads == ["1"]


async def test_view_of_another_connection_is_unknown(shop: Shop, client: MemoryClient):
    """A view that this connection does not watch is unknown, even if it exists."""
    async with connect(shop.sync) as other:
        await subscribe(other, key("1"))
        view = (await other.receive_until("snapshot"))["view"]
        await client.send({"action": "resync", "ref": 1, "body": {"view": view, "rev": 0}})
        assert (await client.receive())["code"] == "unknown_view"


async def test_resync_from_a_rev(shop: Shop, client: MemoryClient):
    """resync brings what leads from the rev that is named: nothing, the deltas, or the rows whole."""
    shop.rows["1"] = {"n": 0, "text": "x" * 400}
    await subscribe(client, key("1"))
    view = (await client.receive_until("snapshot"))["view"]
    sent = []
    for n in (1, 2):
        shop.rows["1"] = {"n": n, "text": "x" * 400}
        await shop.sync.notify("items", "1")
        sent.append(await client.receive_until("delta"))

    async def answers(rev: int) -> list[Any]:
        await client.send({"action": "resync", "body": {"view": view, "rev": rev}})
        await settled(shop.sync)
        return client.pending()

    assert await answers(1) == sent
    assert await answers(2) == sent[1:]
    assert [(one["event"], one["rev"]) for one in await answers(3)] == [("current", 3)]
    for unknown in (0, 4, -1):
        assert [(one["event"], one["rev"]) for one in await answers(unknown)] == [("snapshot", 3)]
    assert shop.loads == ["1"] * 3


async def lines_run(work: Coroutine[Any, Any, None]) -> int:
    """How many lines of Python it runs, whatever the machine does meanwhile."""
    count, before = 0, sys.gettrace()

    def trace(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        await work
    finally:
        sys.settrace(before)
    return count


async def test_what_resyncs_cost(shop: Shop, client: MemoryClient):
    """A frame of resyncs costs the same however much its connection watches."""
    costs: list[int] = []
    for many in (1, 300):
        await subscribe(client, *(key(str(1_000 * many + id)) for id in range(many)))
        await settled(shop.sync)
        view = client.pending()[-1]["view"]
        frame = [{"action": "resync", "body": {"view": number, "rev": 0}} for number in (view, 0)] * 50
        costs.append(await lines_run(client.send(frame)))
        await settled(shop.sync)
        assert {one.get("code", one["event"]) for one in client.pending()} == {"snapshot", "unknown_view"}
    assert costs[1] < 1.1 * costs[0]


# Who the client is


async def test_messages_behind_a_secret_wait(shop: Shop, client: MemoryClient):
    """While the secret is checked, what follows waits, and is answered afterwards in order."""
    shop.doubt.clear()
    await client.send({"action": "secret", "ref": "s", "body": "ann"})
    await subscribe(client, key("x", "own"), ref="a")
    await client.send({"action": "ping", "ref": "p"})
    await all_but_asked(shop.sync)
    assert client.pending() == []
    shop.doubt.set()
    assert [(await client.receive())["ref"] for _ in range(3)] == ["s", "a", "p"]
    assert (await client.receive())["rows"] == [{"data": {"for": "ann"}}]


async def test_new_secret_answers_every_subscription(shop: Shop, client: MemoryClient):
    """After a new secret's ack: current where the audience is the same, a new view where it is not."""
    await subscribe(client, key("1"), key("x", "own"))
    await settled(shop.sync)
    first = {message["entity"]: message for message in client.pending() if message["event"] == "snapshot"}
    await client.send({"action": "secret", "ref": 2, "body": "ann"})
    await settled(shop.sync)
    ack, *states = client.pending()
    assert ack == {"event": "ack", "ref": 2}
    found = {message["entity"]: message for message in states}
    assert found["items"]["event"] == "current"
    assert found["own"]["rows"] == [{"data": {"for": "ann"}}]
    assert found["own"]["view"] != first["own"]["view"]


async def test_nothing_of_the_old_principal_after_a_secret(shop: Shop, client: MemoryClient):
    """Between a secret and its answer no state is sent, whatever changes."""
    await subscribe(client, key("1"))
    await settled(shop.sync)
    client.pending()
    shop.doubt.clear()
    await client.send({"action": "secret", "body": "ann"})
    shop.set("1", {"n": 7})
    await shop.items.notify(1)
    await all_but_asked(shop.sync)
    assert client.pending() == []
    shop.doubt.set()
    assert (await client.receive_until("snapshot"))["rows"] == [{"data": {"n": 7}}]


async def test_refused_secret_and_another(shop: Shop, client: MemoryClient):
    """A refused secret: an error with its ref, denied for each key, no load; another brings them back."""
    await subscribe(client, key("1"))
    await settled(shop.sync)
    client.pending()
    loads = len(shop.loads)
    await client.send({"action": "secret", "ref": 2, "body": "wrong"})
    error, denied = await client.receive(), await client.receive()
    assert (error["code"], error["ref"], error["retryable"]) == ("denied", 2, False)
    assert denied == {"event": "denied", "entity": "items", "id": "1", "code": "denied"}
    await shop.items.notify(1)
    await settled(shop.sync)
    assert (client.pending(), len(shop.loads)) == ([], loads)
    await client.send({"action": "secret", "ref": 3, "body": "ann"})
    assert names([await client.receive(), await client.receive()]) == ["ack", "snapshot"]


async def test_wrong_type_of_secret_keeps_the_principal(shop: Shop, client: MemoryClient):
    """A secret that is no string is refused, and the old principal stays."""
    await client.send({"action": "secret", "body": "ann"})
    await client.send({"action": "secret", "ref": 2, "body": 5})
    assert [(await client.receive())["event"] for _ in range(2)] == ["ack", "error"]
    await subscribe(client, key("x", "own"))
    assert (await client.receive_until("snapshot"))["rows"] == [{"data": {"for": "ann"}}]


async def test_authenticate_that_raises(client: MemoryClient, caplog: pytest.LogCaptureFixture):
    """An authenticate that raises is `busy`, without its text on the wire or in the log."""
    caplog.set_level(logging.INFO)
    await client.send({"action": "secret", "ref": 1, "body": "broken"})
    error = await client.receive()
    assert (error["code"], error["retryable"]) == ("busy", True)
    assert "hush" not in str(error) + caplog.text
    assert "RuntimeError" in caplog.text


async def test_authenticate_that_hangs(shop: Shop, client: MemoryClient):
    """An authenticate that gives no answer in time is `busy`, and the connection stays open."""
    shop.doubt.clear()
    await client.send({"action": "secret", "ref": 1, "body": "ann"})
    await shop.clock.advance(10.0)
    assert (await client.receive_until("error"))["code"] == "busy"
    shop.doubt.set()
    await client.send({"action": "secret", "ref": 2, "body": "ann"})
    assert (await client.receive_until("ack"))["ref"] == 2


async def test_silence_at_the_start_is_closed(shop: Shop):
    """A v2 client that neither sends a secret nor subscribes is closed after 10 s; a classic one is not."""
    quiet, classic = MemoryClient.of(shop.sync), MemoryClient.of(shop.sync, ConnectionInfo("classic"))
    async with connect(shop.sync, secret="ann"):
        await shop.clock.advance(10.0)
    assert (quiet.close_code, classic.close_code) == (1008, None)


# Failure


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"a": {"b": float("nan")}}, "field 'a.b' is nan"),
        ({"a": 2**60}, "field 'a' is an integer"),
        ({"a": [1, object()]}, "field 'a[1]' is an object"),
        ([1, 2], "two rows have the key items/'1'"),
        (b"{", "not JSON"),
    ],
)
async def test_unsendable_value(
    shop: Shop, client: MemoryClient, caplog: pytest.LogCaptureFixture, row: Any, text: str
):
    """A value that cannot be sent is stale for its subscriber, one log line with the field, no retry."""
    shop.set("1", row)
    await subscribe(client, key("1"), key("2"))
    stale = await client.receive_until("stale")
    assert (stale["reason"], stale["entity"], stale["id"]) == ("load", "items", "1")
    [line] = [record.getMessage() for record in caplog.records if "items/'1'" in record.getMessage()]
    assert text in line
    assert (await client.receive_until("snapshot"))["id"] == "2"
    await shop.clock.advance(60.0)
    assert shop.loads.count("1") == 1


async def test_too_large():
    """A view over limits.view is an error that names its key, and does not spoil the connection."""
    shop = Shop(max_view_bytes=100)
    async with shop.sync, connect(shop.sync) as client:
        shop.set("1", {"x": "y" * 200})
        await subscribe(client, key("1"))
        error = await client.receive_until("error")
        assert (error["code"], error["entity"], error["id"]) == ("too_large", "items", "1")
        shop.set("1", {"x": "y"})
        await shop.items.notify(1)
        assert (await client.receive_until("snapshot"))["rows"] == [{"data": {"x": "y"}}]


async def test_raising_loader_is_quoted_in_the_log_only(
    shop: Shop, client: MemoryClient, caplog: pytest.LogCaptureFixture
):
    """What a loader raises is in the log, once, and never on the wire."""
    shop.set("1", RuntimeError("on purpose"))
    await subscribe(client, key("1"))
    await shop.clock.advance(5.0)
    assert "on purpose" not in "".join(client.received)
    assert (await client.receive_until("stale"))["id"] == "1"
    assert sum("on purpose" in record.getMessage() for record in caplog.records) == 1


async def test_access_denied_in_a_loader_is_gone(shop: Shop, client: MemoryClient):
    """A loader's AccessDenied and a key that does not exist are the same on the wire."""
    shop.set("1", AccessDenied())
    del shop.rows["2"]
    await subscribe(client, key("1"), key("2"))
    await settled(shop.sync)
    one, two = (message for message in client.pending() if message["event"] == "snapshot")
    for message in (one, two):
        for name in ("view", "id"):
            del message[name]
    assert one == two
    assert one["gone"]


@pytest.mark.parametrize("body", ["raise", "strange", "cancel"])
async def test_failing_on_message(client: MemoryClient, body: str):
    """An on_message that raises, or answers what is no JSON, is `failed`, never quoted; the next is taken."""
    await client.send(
        [
            {"action": "message", "ref": 1, "body": body},
            {"action": "message", "ref": 2, "body": {"still": "here"}},
        ]
    )
    error = await client.receive()
    assert (error["code"], error["ref"]) == ("failed", 1)
    assert "hush" not in str(error)
    assert await client.receive() == {"event": "message", "body": {"still": "here"}, "ref": 2}


async def test_bad_frames_keep_the_connection(client: MemoryClient, caplog: pytest.LogCaptureFixture):
    """Nonsense is answered, the connection is kept, and a flood does not fill the log."""
    caplog.set_level(logging.INFO)
    for _ in range(1_000):
        await client.send("nonsense")
        assert (await client.receive())["code"] == "bad_frame"
    assert len(caplog.records) == 10
    await client.send({"action": "ping"})
    assert await client.receive() == {"event": "pong"}


@pytest.mark.parametrize("frame", ["[%s]", '{"action":"subscribe","body":[%s]}'], ids=["messages", "keys"])
async def test_a_frame_full_of_nonsense_closes_nothing(client: MemoryClient, frame: str):
    """No frame that a client may send is answered with more than it may leave unread."""
    await client.send(frame % ",".join("0" * 32_000))
    await client.send({"action": "ping", "ref": 1})
    assert (await client.receive_until("pong"))["ref"] == 1


# Standing, beats and the end


async def test_beats(shop: Shop, client: MemoryClient):
    """A beat comes every beat_ms, also on an idle connection, with the age of the broker link."""
    async with connect(shop.sync, secret="ann"):
        await client.send({"action": "secret", "body": None})
        await client.receive_until("ack")
        await shop.clock.advance(10.0)
        assert client.pending() == [{"event": "beat", "link_ms": 0}] * 2


async def test_slow_client_gets_the_newest(shop: Shop, client: MemoryClient):
    """While a client takes nothing nothing piles up; when it does again it gets the newest state."""
    await subscribe(client, key("1"))
    await settled(shop.sync)
    client.pending()
    client.stall()
    for n in range(100):
        shop.set("1", {"n": n})
        await shop.items.notify(1)
        await settled(shop.sync)
    client.resume()
    await settled(shop.sync)
    assert [message["rows"] for message in client.pending()] == [[{"data": {"n": 99}}]]


async def test_too_slow_is_closed(shop: Shop, client: MemoryClient):
    """A client that takes nothing for slow_timeout is closed, and its views with it."""
    await subscribe(client, key("1"))
    await settled(shop.sync)
    client.stall()
    await shop.clock.advance(60.0)
    assert client.close_code == 1008
    assert len(shop.sync.node.hub.views) == 0


async def test_drain_says_goodbye():
    """At the end: goodbye with a time to come back, then close 1012."""
    shop = Shop()
    async with shop.sync:
        client = MemoryClient.of(shop.sync)
        await client.receive_until("welcome")
    goodbye = await client.receive()
    assert (goodbye["event"], goodbye["code"]) == ("goodbye", "drain")
    assert 0 < goodbye["retry_after_ms"] <= 3_000
    with pytest.raises(ConnectionLost):
        await client.receive()
    assert client.close_code == 1012
