"""An application's or an adapter's misbehaviour stays where it is."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync import AccessDenied, EntitySync, Settings
from entity_sync.core.frame import Frame
from entity_sync.core.outbox import Mark, Outbox
from entity_sync.core.view import View
from entity_sync.hub.fanout import Fanout
from entity_sync.testing import FakeClock, MemoryClient, connect, settled
from tests.hub.virtual import in_virtual_time
from tests.simulation.loop import run


def told(client: MemoryClient) -> list[tuple[str, str | None]]:
    """Every pending event but acks and beats, with the id it names."""
    return [
        (message["event"], message.get("id"))
        for message in client.pending()
        if message["event"] not in ("ack", "beat")
    ]


class Panic(BaseException):
    """What some extension modules raise: no Exception."""


def test_queues_of_two_entities_do_not_starve_a_third():
    """However long the queues of busy entities are, another entity's key gets one of the next places."""

    async def main() -> None:
        sync = EntitySync(settings=Settings(max_loads=4, max_entity_loads=2))
        order: list[str] = []

        def loader(name: str) -> Callable[[str], Awaitable[dict[str, str]]]:
            async def load(id: str) -> dict[str, str]:
                order.append(name)
                await asyncio.sleep(1.0)
                return {}

            return load

        for name in ("busy", "busier", "quiet"):
            sync.entity(name)(loader(name))

        async with sync, connect(sync) as client:
            await client.subscribe("busy", *map(str, range(50)))
            await client.subscribe("busier", *map(str, range(50)))
            await client.subscribe("quiet", "x")
            await asyncio.sleep(5.0)
            assert "quiet" in order

    run(main())


class Mute(Exception):
    """What an application may make of an exception: its text cannot be had."""

    def __str__(self) -> str:
        raise AttributeError("text")


@pytest.mark.parametrize("way", ["async", "plain", "batch", "value"])
@pytest.mark.parametrize(
    "error", [asyncio.CancelledError, KeyError, StopIteration, StopAsyncIteration, GeneratorExit, Panic, Mute]
)
async def test_loader_that_raises_anything(error: type[BaseException], way: str):
    """Whatever a loader raises, also what looks like a cancellation, is a failure that is retried."""
    sync = EntitySync(settings=Settings(load_attempts=2, retry_delay=0.001))
    is_broken = True

    def plain(id: str) -> dict[str, str]:
        if is_broken:
            raise error
        return {}

    async def item(id: str) -> dict[str, str]:
        return plain(id)

    async def batch(ids: list[str]) -> dict[str, Any]:
        if way == "value":
            return {id: error() if is_broken else {} for id in ids}
        return {id: plain(id) for id in ids}

    if way in ("async", "plain"):
        sync.entity("items")(item if way == "async" else plain)
    else:
        sync.entity("items", batch=5)(batch)
    async with sync, connect(sync) as client:
        await client.subscribe("items", "1")
        assert (await client.receive_until("stale"))["id"] == "1"
        is_broken = False
        await client.receive_until("snapshot")
        await client.receive_until("fresh")


async def test_loader_that_awaits_what_was_cancelled():
    """A loader that awaits what somebody cancelled fails and is retried: its view does not hang for ever."""
    clock = FakeClock()
    sync = EntitySync(clock=clock, settings=Settings(load_attempts=1))
    shared: asyncio.Future[dict[str, int]] = asyncio.get_running_loop().create_future()

    @sync.entity("items")
    async def item(id: str) -> dict[str, int]:
        return await shared

    async with sync, connect(sync) as client:
        await client.subscribe("items", "1")
        await clock.advance(0)
        shared.cancel()
        await clock.advance(0)
        assert told(client) == [("stale", "1")]
        shared = asyncio.get_running_loop().create_future()
        shared.set_result({"n": 1})
        await clock.advance(1.0)
        assert [event for event, _ in told(client)] == ["snapshot", "fresh"]


async def test_authenticate_that_awaits_what_was_cancelled():
    """An authenticate that awaits a cancelled task is an answer to try again, not silence."""
    sync = EntitySync()
    shared: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    shared.cancel()

    @sync.authenticate
    async def who(secret: str | None, connection: Any) -> str:
        return await shared

    async with sync, connect(sync) as client:
        await client.send({"action": "secret", "ref": 1, "body": "x"})
        await settled(sync)
        [error] = client.pending()
        assert (error["code"], error["retryable"], error["ref"]) == ("busy", True, 1)


async def test_authenticate_that_swallows_its_timeout():
    """An answer that comes after all counts, and what is asked later has its own time."""
    clock = FakeClock()
    sync = EntitySync(clock=clock, settings=Settings(authenticate_timeout=1.0))
    asked: list[str | None] = []

    @sync.authenticate
    async def who(secret: str | None, connection: Any) -> str:
        asked.append(secret)
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        if secret == "odd":
            raise asyncio.CancelledError
        return "ann"

    async with sync, connect(sync) as client, connect(sync) as other:
        await client.send({"action": "secret", "ref": 1, "body": "x"})
        await other.send({"action": "secret", "ref": 1, "body": "odd"})
        await clock.advance(1.0)
        assert [one["event"] for one in client.pending()] == ["ack"]
        assert [(one["event"], one["code"]) for one in other.pending()] == [("error", "busy")]
    assert sorted(map(str, asked)) == ["odd", "x"]


async def test_expiry_and_departure_at_once():
    """A view dropped in the very moment its load expires is not retried: nobody looks, nothing loads."""
    clock = FakeClock()
    sync = EntitySync(clock=clock)
    loads = 0

    @sync.entity("items", timeout=1.0)
    async def item(id: str) -> None:
        nonlocal loads
        loads += 1
        await asyncio.get_running_loop().create_future()

    async with sync, connect(sync) as client:
        await client.subscribe("items", "1")
        await clock.advance(0)
        # Both in one turn: first the loader's time is over, then its last watcher leaves.
        clock.call_later(1.0, lambda: None)
        for due in sorted(clock._due, key=lambda entry: entry[:2]):
            if due[0] == 1.0 and due[2].callback is not None:
                due[2].callback()
                due[2].callback = None
        client.leave()
        await clock.advance(60.0)
        assert loads == 1
        assert not sync.node.hub.loads._delays._groups


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def test_plain_function_that_hangs_holds_its_own_places_only(release: threading.Event):
    """A plain loader that never returns keeps its places: its retries do not take every thread there is."""
    clock = FakeClock()
    sync = EntitySync(clock=clock, settings=Settings(max_loads=4, max_entity_loads=2, load_attempts=1))
    calls: list[str] = []

    @sync.entity("hanging", timeout=1.0)
    def hang(id: str) -> None:
        calls.append(id)
        release.wait(30)

    @sync.entity("good")
    def good(id: str) -> dict[str, str]:
        return {"id": id}

    async with sync, connect(sync) as client:
        await client.subscribe("hanging", *map(str, range(10)))
        await clock.advance(120.0)
        assert len(calls) <= 4
        assert told(client)[0][0] == "stale"
        await client.subscribe("good", "x")
        async with asyncio.timeout(5):
            assert (await client.receive_until("snapshot"))["id"] == "x"
        release.set()
        async with asyncio.timeout(10):
            while len(calls) < 10:
                await asyncio.sleep(0.001)
                await clock.advance(1.0)


async def test_transport_that_raises_stops_nobody_else(caplog: pytest.LogCaptureFixture):
    """An exception while one connection is written to does not keep the others from their news."""
    sync = EntitySync()
    n = 0

    @sync.entity("items")
    async def item(id: str) -> dict[str, int]:
        return {"n": n}

    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
    async with sync, connect(sync) as broken, connect(sync) as good:
        for client in (broken, good):
            await client.subscribe("items", "1")
            await client.receive_until("snapshot")

        def explode(frames: list[Frame]) -> None:
            raise RuntimeError("on purpose")

        broken._connection.outbox.write = explode
        for n in (1, 2):
            await sync.notify("items", "1")
            async with asyncio.timeout(5):
                assert (await good.receive_until("snapshot"))["rows"] == [{"data": {"n": n}}]


@pytest.mark.parametrize("wrong", ["no audience", "raises"])
async def test_denied_audience(wrong: str):
    """Where there is no audience for a principal the key is denied, without a load, and others are served."""
    sync = EntitySync()
    loads: list[str] = []

    def tenant(principal: str) -> str:
        if principal == "bad" and wrong == "raises":
            raise LookupError
        if principal == "bad":
            raise AccessDenied
        return principal

    @sync.entity("reports", per=tenant)
    async def report(id: str, tenant: str) -> dict[str, str]:
        loads.append(tenant)
        return {"tenant": tenant}

    async with sync, connect(sync, secret="bad") as bad, connect(sync, secret="red") as red:
        for client in (bad, red):
            await client.subscribe("reports", "1")
        await settled(sync)
        assert told(bad) == [("denied", "1")]
        assert told(red) == [("snapshot", "1")]
        assert loads == ["red"]


async def test_slow_client_that_asks_too_much_is_closed():
    """Unread answers are bounded: beyond max_outgoing the client is closed, and costs nothing more."""
    sync = EntitySync(settings=Settings(max_outgoing=10_000))
    async with sync, connect(sync) as slow, connect(sync) as other:
        slow.stall()
        for n in range(1_000):
            await slow.send({"action": "ping", "ref": n})
            if slow.close_code is not None:
                break
        assert (slow.close_code, slow.close_reason) == (1008, "slow")
        assert n < 1_000
        await asyncio.sleep(0)
        assert len(sync.node.members) == 1
        await other.send({"action": "ping", "ref": 1})
        assert await other.receive_until("pong") == {"event": "pong", "ref": 1}


@pytest.mark.parametrize("size", [3_000, 30_000])
async def test_who_reads_is_not_slow(size: int):
    """Answers beyond max_outgoing, alone or many at once, reach a client that takes them."""
    sync = EntitySync(settings=Settings(max_outgoing=10_000))

    @sync.on_message
    async def answer(_message: Any) -> str:
        return "x" * size

    async with sync, connect(sync) as client:
        await client.send([{"action": "message", "ref": ref} for ref in range(20)])
        for ref in range(20):
            message = await client.receive_until("message")
            assert (message["ref"], len(message["body"])) == (ref, size)


async def test_keys_that_do_not_exist():
    """A hundred in a subscribe are answered each, the others together; what is right among them is served."""
    sync = EntitySync()

    @sync.entity("items")
    async def item(id: str) -> str:
        return id

    async with sync, connect(sync) as client:
        body: list[Any] = [{"entity": "nothing", "id": "1"}] * 150 + [{"entity": "items", "id": ""}] * 50
        body += [5] * 30 + [{"entity": "items", "id": "1"}]
        await client.send({"action": "subscribe", "ref": 1, "body": body})
        ack = await client.receive_until("ack")
        assert [one["code"] for one in ack["failed"]] == ["bad_body"] * 30 + ["unknown_entity"] * 70
        error = await client.receive_until("error")
        assert (error["code"], error["text"]) == ("bad_frame", "130 more keys are wrong")
        assert (await client.receive_until("snapshot"))["id"] == "1"


async def test_slow_client_gets_the_newest_state():
    """A client that reads again gets the newest state once, however many it missed."""
    sync = EntitySync()
    n = 0

    @sync.entity("items")
    async def item(id: str) -> dict[str, int]:
        return {"n": n}

    async with sync, connect(sync) as slow, connect(sync) as quick:
        for client in (slow, quick):
            await client.subscribe("items", "1")
            await client.receive_until("snapshot")
        slow.stall()
        for n in range(1, 101):  # noqa: B007 - the loader shows it
            await sync.notify("items", "1")
            await settled(sync)
        assert len(quick.pending()) == 100
        assert len(slow._connection.outbox.marks) == 1
        slow.resume()
        await settled(sync)
        assert [message["rows"][0]["data"]["n"] for message in slow.pending()] == [100]


async def test_too_slow_for_too_long():
    """A connection that stays unwritable for slow_timeout is closed as slow."""
    clock = FakeClock()
    sync = EntitySync(clock=clock, settings=Settings(slow_timeout=30.0))
    async with sync, connect(sync) as slow:
        slow.stall()
        await clock.advance(29.0)
        assert slow.close_code is None
        await clock.advance(1.0)
        assert [slow.close_code, slow.close_reason] == [1008, "slow"]


@pytest.mark.parametrize(
    ("value", "code", "field"),
    [
        ({"x": "y" * 600}, "too_large", None),
        ({"a": {"b": float("nan")}}, None, "field 'a.b'"),
        ({"a": {"b": "\ud800"}}, None, "field 'a.b'"),
    ],
)
async def test_result_that_cannot_be_sent(
    value: Any, code: str | None, field: str | None, caplog: pytest.LogCaptureFixture
):
    """A result that can never be sent is told once, not retried, and named in one log line; then it heals."""
    clock = FakeClock()
    sync = EntitySync(clock=clock, settings=Settings(max_view_bytes=500))
    results = [value, {"n": 1}]

    @sync.entity("items")
    async def item(id: str) -> Any:
        return results.pop(0)

    async with sync, connect(sync) as client:
        await client.subscribe("items", "1")
        await clock.advance(60.0)
        [failure] = [message for message in client.pending() if message["event"] not in ("ack", "beat")]
        assert (failure["event"], failure.get("code")) == (("error", code) if code else ("stale", None))
        assert (failure["entity"], failure["id"]) == ("items", "1")
        [line] = [record.getMessage() for record in caplog.records if record.name == "entity_sync.loads"]
        assert "items/'1'" in line
        assert field is None or field in line
        await sync.notify("items", "1")
        await clock.advance(0)
        assert [event for event, _ in told(client)] == ["snapshot", "fresh"]


ARRIVALS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 99), st.sampled_from([0.0, 0.4, 1.0])),
    max_size=60,
)


@settings(deadline=None)
@given(ARRIVALS, st.integers(1, 5), st.integers(1, 5))
def test_caps_hold(arrivals: list[tuple[str, int, float]], max_loads: int, max_entity_loads: int):
    """However keys arrive, no more loads run than the process and the entity may have, and all get theirs."""

    async def main() -> None:
        caps = Settings(max_loads=max_loads, max_entity_loads=max_entity_loads, stale_after=1_000.0)
        sync = EntitySync(settings=caps)
        running: Counter[str] = Counter()
        loaded: set[tuple[str, str]] = set()

        def loader(name: str) -> Callable[[str], Awaitable[None]]:
            async def load(id: str) -> None:
                running[name] += 1
                assert running[name] <= max_entity_loads
                assert running.total() <= max_loads
                await asyncio.sleep(1.0)
                running[name] -= 1
                loaded.add((name, id))

            return load

        for name in "abc":
            sync.entity(name)(loader(name))
        async with sync, connect(sync) as client:
            for entity, id, pause in arrivals:
                await client.subscribe(entity, str(id))
                await asyncio.sleep(pause)
            await asyncio.sleep(len(arrivals) + 1.0)
            assert loaded == {(entity, str(id)) for entity, id, _ in arrivals}
            assert "stale" not in [event for event, _ in told(client)]

    _, failures = run(main())
    assert failures == []


async def test_more_news_than_one_write_holds():
    """What does not fit into one write follows in the next ones, without anything else happening."""
    sync = EntitySync()

    @sync.entity("items")
    async def item(id: str) -> dict[str, str]:
        return {"id": id, "text": "x" * 20_000}

    async with sync, connect(sync) as client:
        ids = [str(n) for n in range(20)]
        await client.subscribe("items", *ids)
        await settled(sync)
        client.pending()
        client.stall()
        await client.subscribe("items", *ids)
        client.resume()
        await settled(sync)
        assert sorted(message["id"] for message in client.pending() if "id" in message) == sorted(ids)


async def test_blocked_before_its_turn():
    """A connection that blocks between the news and its turn to be written to keeps marks, not frames."""
    sync = EntitySync()
    n = 0

    @sync.entity("items")
    async def item(id: str) -> dict[str, int]:
        return {"n": n}

    async with sync, connect(sync) as client:
        await client.subscribe("items", "1")
        await client.receive_until("snapshot")
        [view] = sync.node.hub.views
        [subscription] = view.subscriptions
        sync.node.hub.fanout.mark(subscription)
        assert client._connection.outbox.queued
        client.stall()
        for n in (1, 2):  # noqa: B007 - the loader shows it
            await sync.notify("items", "1")
            await settled(sync)
        client.resume()
        await settled(sync)
        assert [message["rows"] for message in client.pending()] == [[{"data": {"n": 2}}]]


def test_emptying_writes_answers_alone():
    """Marks wait for the flush, which is fair to all."""
    fanout, outbox, written = Fanout(FakeClock()), Outbox("v2", 100), list[list[Frame]]()
    outbox.write = written.append
    outbox.put(Frame(b"1"))
    outbox.mark(Mark(outbox))
    assert fanout.empty(outbox)
    assert [[frame.payload for frame in frames] for frames in written] == [[b"1"]]
    assert len(outbox.marks) == 1


@pytest.mark.parametrize("others", [0, 1], ids=["one mark", "two marks"])
@in_virtual_time
async def test_news_that_cannot_be_made(
    others: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Whoever it was for is disconnected, once, and shown the newest when it is back; nobody else notices."""
    sync, n, tries = EntitySync(), 0, list[int]()

    @sync.entity("items")
    async def items(id: str) -> int:
        return n

    snapshot: Any = View.__dict__["snapshot"]

    def breaking(view: View) -> Any:
        if view.key.id == "1" and n:
            tries.append(n)
            raise MemoryError
        return snapshot.fget(view)

    ids = [str(id) for id in range(1, 2 + others)]
    async with sync, connect(sync) as client, connect(sync) as other:
        await client.subscribe("items", *ids)
        await other.subscribe("items", "2", "3")
        await settled(sync)
        assert told(client) == [("snapshot", id) for id in ids]
        told(other)
        n = 1
        with monkeypatch.context() as patch:
            patch.setattr(View, "snapshot", property(breaking))
            await sync.notify("items", *reversed(ids), "3")
            await settled(sync)
            await asyncio.sleep(30.0)
        assert client.close_code == 1006
        assert tries == [1]
        assert told(other) == [("snapshot", id) for id in (*ids[1:], "3")]
        [line] = [record for record in caplog.records if record.name == "entity_sync.connection"]
        assert line.exc_info is not None
        async with connect(sync) as again:
            await again.subscribe("items", *ids)
            await settled(sync)
            assert [message["rows"] for message in again.pending() if "rows" in message] == [
                [{"data": 1}]
            ] * len(ids)
        other.leave()
        assert len(sync.node.hub.views) == 0
