"""Plain functions in threads: in whose context, how many threads, and that none keeps the process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextvars import ContextVar
from typing import Any

import pytest

from entity_sync import EntitySync, Settings
from entity_sync.hub.threads import Threads
from entity_sync.testing import FakeClock, MemoryClient, connect, settled


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def leave(client: MemoryClient, *ids: str) -> None:
    await client.send({"action": "unsubscribe", "body": [{"entity": "items", "id": id} for id in ids]})


def test_threads_are_begun_when_needed_and_kept(release: threading.Event):
    """One after the other takes one thread, at once takes several, and never more than allowed."""
    threads = Threads(2, "test")
    names = {threads.submit(lambda: threading.current_thread().name).result(5) for _ in range(5)}
    assert len(names) == 1
    started = threading.Barrier(3)

    def hang() -> None:
        started.wait(5)
        release.wait(5)

    hanging = [threads.submit(hang) for _ in range(2)]
    started.wait(5)
    waiting: Future[Any] = threads.submit(lambda: "its turn")
    assert not waiting.done()
    release.set()
    assert waiting.result(5) == "its turn"
    assert [future.result(5) for future in hanging] == [None, None]
    threads.close()


def test_what_did_not_begin_is_cancelled(release: threading.Event):
    """The end begins nothing more, and says so to whoever waits."""
    threads = Threads(1, "test")
    started = threading.Event()

    def hang() -> str:
        started.set()
        release.wait(5)
        return "done"

    running = threads.submit(hang)
    started.wait(5)
    waiting = threads.submit(lambda: "never")
    threads.close()
    with pytest.raises(CancelledError):
        waiting.result(5)
    release.set()
    assert running.result(5) == "done"


def test_an_exception_is_the_callers():
    """Also one that is no Exception; the thread goes on."""
    threads = Threads(1, "test")

    def explode() -> None:
        raise KeyboardInterrupt("for the test")

    with pytest.raises(KeyboardInterrupt):
        threads.submit(explode).result(5)
    assert threads.submit(lambda: 1).result(5) == 1
    threads.close()


async def test_plain_loader_sees_the_variables_of_who_started_the_server():
    """As a coroutine function does."""
    tenant = ContextVar("tenant", default="nobody")
    tenant.set("the server")
    sync, seen = EntitySync(), list[str]()

    @sync.entity("items")
    def items(_id: str) -> dict[str, Any]:
        seen.append(tenant.get())
        return {}

    async with sync, connect(sync) as client:
        tenant.set("a request")
        await client.subscribe("items", "1")
        await client.receive_until("snapshot")
    assert seen == ["the server"]


async def test_who_comes_and_goes_does_not_fail_the_others(release: threading.Event):
    """Loads that a client asked for and left hold their threads until they return; others wait for one."""
    clock = FakeClock()
    sync = EntitySync(clock=clock, settings=Settings(max_entity_loads=2))
    begun = threading.Semaphore(0)

    @sync.entity("items", timeout=5.0)
    def items(id: str) -> dict[str, str]:
        begun.release()
        if id.startswith("slow"):
            release.wait(10)
        return {"id": id}

    async with sync, connect(sync) as rude, connect(sync) as client:
        for number in range(2):
            await rude.subscribe("items", f"slow {number}")
            await clock.advance(0)
            assert begun.acquire(timeout=5)
            await leave(rude, f"slow {number}")
        await client.subscribe("items", "1")
        await clock.advance(1.0)
        assert [message["event"] for message in client.pending()] == ["ack"]
        release.set()
        assert (await client.receive_until("snapshot"))["id"] == "1"


async def test_return_that_nobody_waits_for(release: threading.Event, caplog: pytest.LogCaptureFixture):
    """A load that was left returns while no other one waits for its thread."""
    sync, begun = EntitySync(), threading.Event()

    @sync.entity("items")
    def items(_id: str) -> dict[str, str]:
        begun.set()
        release.wait(10)
        return {}

    async with sync, connect(sync) as client:
        await client.subscribe("items", "1")
        await asyncio.to_thread(begun.wait, 5)
        await leave(client, "1")
        await asyncio.sleep(0)
        abandoned = sync.node.hub.loads._attempts._abandoned._counts
        while abandoned.get("items") != 1:  # the coroutine that waited for the thread ends first
            await asyncio.sleep(0)
        release.set()
        while abandoned["items"]:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not caplog.records


@pytest.mark.parametrize("batch", [None, 2])
async def test_threads_that_never_return_are_named(
    batch: int | None, release: threading.Event, caplog: pytest.LogCaptureFixture
):
    """Where there is no thread left for an entity, its load fails for that reason."""
    clock = FakeClock()
    sync = EntitySync(clock=clock, settings=Settings(max_entity_loads=1, load_attempts=1))

    def one(_id: str) -> None:
        release.wait(10)

    def several(_ids: list[str]) -> dict[str, Any]:
        release.wait(10)
        return {}

    loader: Any = one if batch is None else several
    sync.entity("items", timeout=1.0, batch=batch)(loader)

    async with sync, connect(sync) as client:
        await client.subscribe("items", "1")
        await clock.advance(30.0)
        assert "no result within 1 s" in caplog.text
        await client.subscribe("items", "2")
        await clock.advance(30.0)
        assert "1 loads of items never ended, and hold every place that it may have" in caplog.text
        release.set()
        await settled(sync)
        while any(sync.node.hub.loads._attempts._abandoned._counts.values()):
            await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


_SERVER = """
import asyncio, threading
from entity_sync import EntitySync
from entity_sync.testing import connect

begun = asyncio.Event()

async def main():
    loop, sync = asyncio.get_running_loop(), EntitySync()

    @sync.entity("items", timeout=0.05)
    def items(id: str):
        loop.call_soon_threadsafe(begun.set)
        threading.Event().wait()

    async with sync, connect(sync) as client:
        await client.send({"action": "subscribe", "body": {"entity": "items", "id": "1"}})
        await begun.wait()
    print("closed", flush=True)

asyncio.run(main())
"""


def test_loader_that_hangs_does_not_keep_the_process():
    """A stopped server ends although a plain loader never returns."""
    done = subprocess.run(
        [sys.executable, "-c", _SERVER], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "closed\n"), done.stderr
