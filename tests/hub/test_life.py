"""What begins is ended: tasks, loads, resyncs and connections."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from entity_sync import EntitySync, Settings
from entity_sync.clock import Clock
from entity_sync.testing import FakeClock, MemoryClient, connect, settled


@pytest.fixture
def release():
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("kind", ["async", "plain", "failing"])
async def test_closing_during_loads(kind: str, release: threading.Event):
    """A node that ends with loads running, waiting and to be retried leaves no task behind."""
    sync = EntitySync(settings=Settings(max_loads=2, max_entity_loads=2))

    async def load_async(id: str) -> None:
        await asyncio.get_running_loop().create_future()

    def load_plain(id: str) -> None:
        release.wait(30)

    async def load_failing(id: str) -> None:
        raise OSError("on purpose")

    sync.entity("items")({"async": load_async, "plain": load_plain, "failing": load_failing}[kind])
    before = asyncio.all_tasks()
    async with sync, connect(sync) as client:
        await client.subscribe("items", *map(str, range(20)))
        await client.receive_until("ack")
        for _ in range(5):
            await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_leaving_while_queued():
    """Keys that still wait for a place when their client leaves are never loaded."""
    sync = EntitySync(settings=Settings(max_loads=1, max_entity_loads=1))
    may_load = asyncio.Event()
    loads: list[str] = []

    @sync.entity("items")
    async def item(id: str) -> None:
        loads.append(id)
        await may_load.wait()

    async with sync, connect(sync) as client, connect(sync) as other:
        await other.subscribe("items", "first")
        await asyncio.sleep(0)
        await client.subscribe("items", "1", "2", "3")
        client.leave()
        may_load.set()
        await settled(sync)
        assert loads == ["first"]
        assert sync.node.hub.loads.idle


async def test_leaving_while_it_waits_for_its_retry():
    """A key whose retry is due later is not loaded again when nobody watches it any more."""
    clock = FakeClock()
    sync = EntitySync(clock=clock)
    loads: list[str] = []

    @sync.entity("items")
    async def item(id: str) -> None:
        loads.append(id)
        raise OSError("on purpose")

    async with sync, connect(sync) as client:
        await client.subscribe("items", "1")
        await clock.advance(0)
        assert loads == ["1"]
        client.leave()
        await clock.advance(60.0)
        assert loads == ["1"]


class Script:
    """A capture that a test tells what to find."""

    def __init__(self) -> None:
        self.found: asyncio.Queue[list[str] | None] = asyncio.Queue()

    async def watch(self, clock: Clock) -> AsyncIterator[list[str] | None]:
        while True:
            yield await self.found.get()


async def test_resync_of_what_is_left():
    """A resync goes on when views of it are dropped, waiting or loading, and ends with the last one."""
    clock, capture = FakeClock(), Script()
    sync = EntitySync(clock=clock, captures=[capture], settings=Settings(resync_rate=50.0))
    loads: list[str] = []
    may_load = asyncio.Event()
    may_load.set()

    @sync.entity("items")
    async def item(id: str) -> None:
        loads.append(id)
        await may_load.wait()

    async with sync, connect(sync) as first, connect(sync) as second:
        await first.subscribe("items", "waiting", "kept")
        await second.subscribe("items", "loading")
        await settled(sync)
        loads.clear()
        may_load.clear()
        capture.found.put_nowait(["items"])
        await clock.advance(0)
        assert loads == ["loading"]
        second.leave()
        await first.send({"action": "unsubscribe", "body": {"entity": "items", "id": "waiting"}})
        may_load.set()
        await clock.advance(1.0)
        assert loads == ["loading", "kept"]
        assert sync.node.hub.idle


async def test_capture_finds_only_what_differs():
    """What a capture finds is loaded again, of the entities it names, and sent only where it differs."""
    capture = Script()
    sync = EntitySync(captures=[capture])
    rows = {"1": 1, "2": 2}
    loads: list[str] = []

    async def load(id: str) -> dict[str, int]:
        loads.append(id)
        return {"n": rows[id]}

    sync.entity("items")(load)
    sync.entity("others")(load)
    async with sync, connect(sync) as client:
        await client.subscribe("items", "1", "2")
        await client.subscribe("others", "1")
        await settled(sync)
        client.pending()
        loads.clear()
        rows["2"] = 22
        capture.found.put_nowait(["items"])
        assert (await client.receive())["rows"] == [{"data": {"n": 22}}]
        await settled(sync)
        assert client.pending() == []
        assert loads == ["2", "1"]
        capture.found.put_nowait(None)
        while len(loads) < 5:
            await asyncio.sleep(0)
        await settled(sync)
        assert client.pending() == []


async def test_a_capture_has_the_applications_clock():
    """What a capture waits for, it waits for by the clock that the application was given."""
    clocks: list[Clock] = []

    class Watching:
        async def watch(self, clock: Clock) -> AsyncIterator[None]:
            clocks.append(clock)
            await asyncio.Event().wait()
            yield

    clock = FakeClock()
    async with EntitySync(clock=clock, captures=[Watching()]):
        await clock.advance(0)
    assert clocks == [clock]


class Broken(Script):
    """A capture that fails for as long as it is told to, and notes when it was begun."""

    entities = ("items",)

    def __init__(self, *errors: BaseException) -> None:
        super().__init__()
        self.errors = list(errors)
        self.begun: list[float] = []

    async def watch(self, clock: Clock) -> AsyncIterator[list[str] | None]:
        self.begun.append(clock.now())
        if self.errors:
            raise self.errors.pop(0)
        async for found in super().watch(clock):
            if found == ["broken"]:
                raise OSError("it broke")
            yield found


async def test_capture_that_breaks(caplog: pytest.LogCaptureFixture):
    """A capture that raises is logged and begun again, after longer each time; once it runs, what it is about
    is loaded again, and what it finds is seen."""
    clock = FakeClock()
    capture = Broken(
        OSError("no such file"), asyncio.CancelledError(), OSError("nor yet"), OSError("still none")
    )
    sync = EntitySync(clock=clock, captures=[capture])
    loads: list[str] = []

    async def load(id: str) -> None:
        loads.append(id)

    sync.entity("items")(load)
    sync.entity("others")(load)
    async with sync, connect(sync) as client:
        await client.subscribe("items", "1")
        await client.subscribe("others", "2")
        await clock.advance(0.75)
        assert sync.node.is_ready
        assert loads == ["1", "2"]
        assert len(caplog.records) == 3
        assert "Broken failed, and begins again: OSError: no such file" in caplog.text
        await clock.advance(1)
        assert loads == ["1", "2", "1"]
        assert [round(moment, 6) for moment in capture.begun] == [0, 0.1, 0.3, 0.7, 1.5]
        capture.found.put_nowait(["others"])
        await clock.advance(1)
        assert loads == ["1", "2", "1", "2"]


async def test_capture_that_breaks_again():
    """After it ran for long the first pause is short again; one that breaks at once keeps the longest."""
    clock = FakeClock()
    capture = Broken(*(OSError("not there") for _ in range(9)))
    sync = EntitySync(clock=clock, captures=[capture])
    sync.entity("items")(_nothing)
    async with sync:
        await clock.advance(100)
        assert [round(later - one, 6) for one, later in pairwise(capture.begun)][-3:] == [6.4, 10.0, 10.0]
        assert len(capture.begun) == 10
        for _ in range(2):
            capture.found.put_nowait(["broken"])
            await clock.advance(0)
            ended = clock.now()
            await clock.advance(20)
            assert capture.begun[-1] - ended == pytest.approx(0.1)


async def _nothing(id: str) -> None: ...


async def test_beats_tell_the_age_of_the_link():
    """A beat comes every beat_interval on an idle v2 connection, never on classic or to who cannot read."""
    clock = FakeClock()
    sync = EntitySync(clock=clock, settings=Settings(beat_interval=5.0))
    async with sync, connect(sync) as client, connect(sync) as slow, connect(sync, wire="classic") as classic:
        slow.stall()
        await clock.advance(16.0)
        assert client.pending() == [{"event": "beat", "link_ms": 0}] * 3
        slow.resume()
        await settled(sync)
        assert slow.pending() == []
        assert classic.pending() == []


async def test_drain_waits_a_bounded_time():
    """A connection that does not close keeps an orderly stop waiting for drain_timeout and no longer."""
    clock = FakeClock()
    sync = EntitySync(clock=clock, settings=Settings(drain_timeout=7.0))
    await sync.__aenter__()
    client = MemoryClient.of(sync)
    stubborn = MemoryClient.of(sync)
    stubborn.close = lambda code, reason: None  # type: ignore[method-assign]
    ending = asyncio.create_task(sync.__aexit__())
    await clock.advance(6.9)
    assert client.close_code == 1012
    assert not ending.done()
    await clock.advance(0.2)
    await ending
    stubborn.leave()
