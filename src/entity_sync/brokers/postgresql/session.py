"""A session of PostgreSQL, by whichever driver is installed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from traceback import clear_frames
from typing import Any, Protocol

from entity_sync.errors import BrokerUnavailable, ConfigurationError, MissingExtra

__all__ = ["PATIENCE", "Session", "borrow_session", "check_driver", "check_psycopg", "open_session"]

PATIENCE = 4.5  # seconds for an answer
_PROBE = 2.0  # seconds between questions to a listening session
_NOTIFY = "SELECT pg_notify({0}, text) FROM unnest({1}::text[]) AS text"


class Session(Protocol):
    """One session, used by one task at a time, except for `close`."""

    @property
    def has_ended(self) -> bool:
        """Whether it is known to be over; a session that is not may be all the same."""
        ...

    async def listen(self, topic: str, take: Callable[[str], None]) -> None:
        """Return once PostgreSQL confirmed; texts then go to ``take`` while `follow` runs."""
        ...

    async def follow(self) -> None:
        """Hand on what comes, until the session ends.

        Raises:
            BrokerUnavailable: it ended, or no longer answers.
        """
        ...

    async def notify(self, topic: str, texts: Sequence[str]) -> None:
        """Commit one transaction that notifies all texts."""
        ...

    async def close(self, *, is_dead: bool = False) -> None:
        """End it, for a second at most; at once and without a goodbye when it is dead.

        Raises:
            Exception: whatever the driver or the pool raises; it is over all the same.
        """
        ...


def check_driver(driver: str | None) -> str:
    """The name of the driver to use; None takes whichever is installed, asyncpg first.

    Raises:
        ConfigurationError: there is no such driver, or it is too old.
        MissingExtra: it is not installed.
    """
    if driver not in {None, "asyncpg", "psycopg"}:
        raise ConfigurationError(f"the driver of a postgresql broker is asyncpg or psycopg, not {driver!r}")
    for name in (driver,) if driver is not None else ("asyncpg", "psycopg"):
        with suppress(ImportError, ValueError):  # ValueError: it was looked for before, and is not there
            if find_spec(name) is not None:
                if name == "psycopg":
                    check_psycopg()
                return name
    raise MissingExtra("the postgresql broker", "psycopg" if driver == "psycopg" else "postgresql")


def check_psycopg() -> None:
    """Refuse a psycopg that forgets notifications which arrive while a statement runs.

    Raises:
        ConfigurationError: it is older than 3.2.4 (https://www.psycopg.org/psycopg3/docs/news.html).
    """
    import psycopg

    if tuple(int(part) for part in psycopg.__version__.split(".")[:3] if part.isdecimal()) < (3, 2, 4):
        raise ConfigurationError(f"psycopg {psycopg.__version__} loses notifications: 3.2.4 is needed")


async def open_session(url: str, driver: str) -> Session:
    """Connect by a driver that `check_driver` returned; raises whatever the driver raises."""
    return await (_Asyncpg if driver == "asyncpg" else _Psycopg).open(url)


async def borrow_session(pool: Any) -> Session:
    """Take a connection out of a pool for as long as the session lasts; raises as `open_session`.

    Args:
        pool: an ``asyncpg.Pool``, or a ``psycopg_pool.AsyncConnectionPool``.
    """
    return await (_Asyncpg if hasattr(pool, "acquire") else _Psycopg).borrow(pool)


class _Asyncpg:
    """asyncpg: notifications come by callback, also while statements run."""

    def __init__(self, connection: Any, pool: Any = None) -> None:
        self._connection = connection
        self._pool = pool
        self._ended = asyncio.Event()
        self._listening: tuple[str, Callable[..., None]] | None = None
        connection.add_termination_listener(self._end)

    @classmethod
    async def open(cls, url: str) -> _Asyncpg:
        asyncpg: Any = import_module("asyncpg")  # it ships no types
        settings = {"application_name": "entity-sync"}
        connection = await asyncpg.connect(url, timeout=PATIENCE, server_settings=settings)
        try:
            # Not among the settings above: poolers refuse to connect with one that they do not know.
            await connection.execute("SET tcp_keepalives_idle = 10", timeout=PATIENCE)
        except BaseException:
            connection.terminate()
            raise
        return cls(connection)

    @classmethod
    async def borrow(cls, pool: Any) -> _Asyncpg:
        return cls(await pool.acquire(timeout=PATIENCE), pool)

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    async def listen(self, topic: str, take: Callable[[str], None]) -> None:
        def hear(_connection: Any, _pid: int, _topic: str, text: str) -> None:
            take(text)

        self._listening = (topic, hear)
        await self._connection.add_listener(*self._listening)

    async def follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _PROBE)
            if self._ended.is_set():
                raise BrokerUnavailable("the connection that listens has ended")
            await self._connection.execute("SELECT 1", timeout=PATIENCE)

    async def notify(self, topic: str, texts: Sequence[str]) -> None:
        await self._connection.execute(_NOTIFY.format("$1", "$2"), topic, list(texts), timeout=PATIENCE)

    async def close(self, *, is_dead: bool = False) -> None:
        try:
            self._connection.remove_termination_listener(self._end)
            if is_dead:
                self._connection.terminate()  # a pool then takes it back by itself
                return
            async with asyncio.timeout(1.0):
                if self._pool is None:
                    await self._connection.close(timeout=1.0)
                    return
                if self._listening is not None:
                    await self._connection.remove_listener(*self._listening)
                await self._pool.release(self._connection, timeout=1.0)
        except Exception:  # noqa: BLE001 - it is lost already, and there is nobody to tell
            self._connection.terminate()

    def _end(self, _connection: Any) -> None:
        self._ended.set()


class _Psycopg:
    """psycopg: notifications are read by a generator that holds the connection.

    Whoever cancels a statement of psycopg waits until the server has been asked to cancel it, which a
    stopped server never is. So statements are tasks of their own: one that is given up goes on until
    the server answers, or until its connection is dropped.
    """

    def __init__(self, connection: Any, pool: Any = None) -> None:
        self._connection = connection
        self._pool = pool
        self._running: set[asyncio.Task[Any]] = set()
        self._take: Callable[[str], None] = lambda _text: None
        self._was_autocommit: bool = connection.autocommit

    @property
    def has_ended(self) -> bool:
        return bool(self._connection.closed)

    @classmethod
    async def open(cls, url: str) -> _Psycopg:
        import psycopg

        settings: dict[str, Any] = {
            "application_name": "entity-sync",
            "connect_timeout": 4,
            "keepalives_idle": 10,
        }
        try:
            return cls(await psycopg.AsyncConnection.connect(url, autocommit=True, **settings))
        except BaseException as error:
            # Otherwise the socket of a failed attempt stays open until the garbage is collected.
            clear_frames(error.__traceback__)
            raise

    @classmethod
    async def borrow(cls, pool: Any) -> _Psycopg:
        session = cls(await pool.getconn(timeout=PATIENCE), pool)
        try:
            await session._connection.set_autocommit(True)
        except BaseException:
            await session.close(is_dead=True)
            raise
        return session

    async def listen(self, topic: str, take: Callable[[str], None]) -> None:
        self._take = take
        await self._run(f"LISTEN {_quoted(topic)}")

    async def follow(self) -> None:
        while True:
            async for notification in self._connection.notifies(timeout=_PROBE):
                self._take(notification.payload)
            await self._run("SELECT 1")

    async def notify(self, topic: str, texts: Sequence[str]) -> None:
        # A binary array: escaping a large one as text would hold up the event loop for a second.
        await self._run(_NOTIFY.format("%s", "%b"), [topic, list(texts)])

    async def close(self, *, is_dead: bool = False) -> None:
        if self._running and not is_dead:
            await asyncio.wait(self._running, timeout=0.5)
        if self._running or is_dead:
            self._drop()
        if self._pool is None:
            await self._connection.close()
            return
        try:
            if not self.has_ended:
                await self._run("UNLISTEN *", within=0.5)
                await self._connection.set_autocommit(self._was_autocommit)
        finally:
            await self._pool.putconn(self._connection)

    async def _run(
        self, statement: str, parameters: Sequence[Any] | None = None, within: float = PATIENCE
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._connection.execute(statement, parameters))
        self._running.add(task)
        task.add_done_callback(self._finished)
        done, _ = await asyncio.wait([task], timeout=within)
        if not done:
            self._drop()
            raise TimeoutError
        task.result()

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever gave it up does not want to know

    def _drop(self) -> None:
        self._connection.pgconn.finish()  # no goodbye, and no request to cancel
        for task in self._running:
            task.cancel()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
