"""Commits of other processes are noticed."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import closing
from pathlib import Path

import pytest

from entity_sync import ConfigurationError, EntitySync
from entity_sync.capture.sqlite import SQLiteCapture
from entity_sync.clock import SystemClock
from entity_sync.testing import connect


def write(database: Path, statement: str) -> None:
    """Commit in another process."""
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit(); c.close()"
    )
    subprocess.run([sys.executable, "-c", program, str(database), statement], check=True)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "shop.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, n INTEGER)")
        connection.execute("INSERT INTO items VALUES (1, 1)")
        connection.commit()
    return path


@pytest.fixture
async def seen(database: Path) -> AsyncIterator[asyncio.Queue[Collection[str] | None]]:
    queue: asyncio.Queue[Collection[str] | None] = asyncio.Queue()
    capture = SQLiteCapture(database, interval=0.01, entities=["items"])

    async def watch() -> None:
        async for entities in capture.watch(SystemClock()):
            queue.put_nowait(entities)

    task = asyncio.create_task(watch())
    await asyncio.sleep(0)
    yield queue
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def next_of(queue: asyncio.Queue[Collection[str] | None]) -> Collection[str] | None:
    async with asyncio.timeout(20):
        return await queue.get()


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
async def test_commit_of_another_process(database: Path, mode: str):
    """A commit of another process, without any notify, is shown to a subscriber, in each journal mode."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
    sync = EntitySync(captures=[SQLiteCapture(database, interval=0.01)])

    @sync.entity("items")
    async def item(id: int) -> dict[str, int] | None:
        with closing(sqlite3.connect(database)) as connection:
            row = connection.execute("SELECT n FROM items WHERE id = ?", (id,)).fetchone()
        return {"n": row[0]} if row else None

    async with sync, connect(sync) as client:
        await client.send({"action": "subscribe", "body": {"entity": "items", "id": "1"}})
        assert (await client.receive_until("snapshot"))["rows"] == [{"data": {"n": 1}}]
        await asyncio.to_thread(write, database, "UPDATE items SET n = 2")
        async with asyncio.timeout(20):
            assert (await client.receive_until("snapshot"))["rows"] == [{"data": {"n": 2}}]
        await asyncio.to_thread(write, database, "DELETE FROM items")
        async with asyncio.timeout(20):
            assert (await client.receive_until("snapshot"))["gone"]


async def test_names_its_entities(database: Path, seen: asyncio.Queue[Collection[str] | None]):
    """A commit names the entities that this file holds."""
    await asyncio.to_thread(write, database, "UPDATE items SET n = 2")
    assert await next_of(seen) == ["items"]


async def test_replaced_file(database: Path, tmp_path: Path, seen: asyncio.Queue[Collection[str] | None]):
    """A file that takes the place of the watched one is a change, and is watched from then on."""
    await asyncio.to_thread(write, database, "UPDATE items SET n = 2")
    await next_of(seen)
    other = tmp_path / "other.sqlite3"
    other.write_bytes(database.read_bytes())
    other.replace(database)
    await next_of(seen)
    await asyncio.to_thread(write, database, "UPDATE items SET n = 3")
    await next_of(seen)


async def test_database_that_appears_later(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Without a file one log line says so; when it appears it is watched, beginning with a change."""
    path = tmp_path / "later.sqlite3"
    sleeps = 0

    class Clock(SystemClock):
        async def sleep(self, seconds: float) -> None:
            nonlocal sleeps
            sleeps += 1
            if sleeps == 3:
                write(path, "CREATE TABLE items (id INTEGER PRIMARY KEY)")
            await asyncio.sleep(0)

    found = SQLiteCapture(path).watch(Clock())
    async with asyncio.timeout(20):
        assert await anext(found) is None
    assert sleeps == 3
    assert len(caplog.records) == 1
    await found.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("database", "interval"), [(":memory:", 0.1), ("", 0.1), ("x.sqlite3", 0.0)])
def test_what_cannot_work(database: str, interval: float):
    """A database in memory and an interval of nothing are configuration errors."""
    with pytest.raises(ConfigurationError):
        SQLiteCapture(database, interval=interval)
