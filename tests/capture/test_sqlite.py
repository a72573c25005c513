"""Commits of other processes are noticed."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import pytest

from entity_sync import ConfigurationError, EntitySync
from entity_sync.capture.sqlite import SQLiteCapture
from entity_sync.clock import SystemClock
from entity_sync.testing import FakeClock, connect


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
        await client.subscribe("items", "1")
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


class Looks:
    """A capture that a test lets look: what it found so far, and a log of nothing else."""

    def __init__(self, database: Path) -> None:
        self.clock = FakeClock()
        self.found: list[Collection[str] | None] = []
        self._capture = SQLiteCapture(database, interval=1.0, entities=["items"])

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        await self.clock.advance(0)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        async for entities in self._capture.watch(self.clock):
            self.found.append(entities)

    async def look(self, times: int = 1) -> int:
        """Let time pass; returns how many changes were found meanwhile."""
        before = len(self.found)
        await self.clock.advance(1.0 * times)
        return len(self.found) - before


async def test_nothing_without_a_commit(database: Path):
    """Time, reads and what is not committed are no change; many commits between two looks are one."""
    async with Looks(database) as looks:
        assert await looks.look(10) == 0
        with closing(sqlite3.connect(database, isolation_level=None)) as writer:
            writer.execute("SELECT * FROM items").fetchall()
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("UPDATE items SET n = 2")
            assert await looks.look(3) == 0
            writer.execute("ROLLBACK")
            assert await looks.look(3) == 0
            for n in range(5):
                writer.execute("UPDATE items SET n = ?", (n,))
            assert await looks.look(3) == 1
            writer.execute("UPDATE items SET n = 9")
            assert await looks.look() == 1


async def test_locked_database(database: Path, caplog: pytest.LogCaptureFixture):
    """While a writer has the file for itself nothing is found or logged; then its commit is one change."""
    async with Looks(database) as looks:
        with closing(sqlite3.connect(database, isolation_level=None)) as writer:
            writer.execute("BEGIN EXCLUSIVE")
            writer.execute("UPDATE items SET n = 2")
            assert await looks.look(60) == 0
            writer.execute("COMMIT")
            assert await looks.look() == 1
            assert await looks.look(5) == 0
    assert caplog.records == []


async def test_locked_at_start(database: Path, caplog: pytest.LogCaptureFixture):
    """A database that is locked when the watch begins is watched once it is free, beginning with a change."""
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        async with Looks(database) as looks:
            assert await looks.look(5) == 0
            writer.execute("COMMIT")
            assert await looks.look() == 1
            writer.execute("UPDATE items SET n = 3")
            assert await looks.look() == 1
    assert caplog.records == []


async def test_broken_file(database: Path, caplog: pytest.LogCaptureFixture):
    """A file that is no database is one log line and no change, until a database takes its place."""
    good = database.read_bytes()
    database.write_bytes(b"not a database, and long enough to show it " * 100)
    async with Looks(database) as looks:
        assert await looks.look(60) == 0
        assert [record.getMessage().partition(": ")[0] for record in caplog.records] == [
            f"cannot watch {database}"
        ]
        other = database.with_name("other")
        other.write_bytes(good)
        other.replace(database)
        assert await looks.look(2) == 1


async def test_vanished_file(database: Path, caplog: pytest.LogCaptureFixture):
    """A file that vanishes is one log line; when it is back, that is a change."""
    kept = database.with_name("kept")
    async with Looks(database) as looks:
        database.rename(kept)
        assert await looks.look(60) == 0
        assert len(caplog.records) == 1
        kept.rename(database)
        assert await looks.look(2) == 1
        assert await looks.look(5) == 0


async def test_replaced_as_it_is_opened(
    database: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """A file that takes the watched one's place at the moment of opening is watched from then on."""
    other = database.with_name("other")
    other.write_bytes(database.read_bytes())
    connect_to = sqlite3.connect

    def replacing(*arguments: Any, **options: Any) -> sqlite3.Connection:
        monkeypatch.undo()
        connection: sqlite3.Connection = connect_to(*arguments, **options)
        connection.execute("PRAGMA data_version")
        other.replace(database)
        return connection

    monkeypatch.setattr(sqlite3, "connect", replacing)
    async with Looks(database) as looks:
        assert looks.found == [["items"]]
        with closing(sqlite3.connect(database)) as writer:
            writer.execute("UPDATE items SET n = 2")
            writer.commit()
        assert await looks.look() == 1
    assert caplog.records == []


@pytest.mark.needs("sqlite3")
async def test_commit_of_the_command_line(database: Path):
    """A commit by the sqlite3 program is noticed."""
    async with Looks(database) as looks:
        await asyncio.to_thread(
            subprocess.run, ["sqlite3", str(database), "UPDATE items SET n = 7"], check=True, timeout=30
        )
        assert await looks.look() == 1
        assert looks.found == [["items"]]


async def test_entities_that_nobody_knows(database: Path):
    """A name that is no entity's, of which nothing would ever be noticed, is refused at the start; those of
    rows are known."""
    sync = EntitySync(captures=[SQLiteCapture(database, entities=["items", "orders", "itmes", "itsm"])])
    sync.entity("all_orders", rows=("orders", "id"))(_load)
    sync.entity("items")(_load)
    said = "SQLiteCapture is about 'itmes', 'itsm', .* known are 'all_orders', 'items', 'orders'$"
    with pytest.raises(ConfigurationError, match=said):
        async with sync:
            pass


def test_entities_that_are_a_str():
    """One name is none of a list: it would mean every entity whose name is within it."""
    with pytest.raises(ConfigurationError, match=r"entities=\['items'\]"):
        SQLiteCapture("shop.sqlite3", entities="items")


async def _load(id: str) -> None: ...


@pytest.mark.parametrize(
    ("database", "interval"),
    [(":memory:", 0.1), ("", 0.1), ("x.sqlite3", 0.0), ("x.sqlite3", float("nan"))],
)
def test_what_cannot_work(database: str, interval: float):
    """A database in memory and an interval of nothing are configuration errors."""
    with pytest.raises(ConfigurationError):
        SQLiteCapture(database, interval=interval)
