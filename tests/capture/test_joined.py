"""What a session changed in the transaction of somebody else's connection is told when that has committed."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from entity_sync import EntitySync
from entity_sync.capture.sqlalchemy import notify_after_commit, notify_on_commit
from entity_sync.testing import connect, settled
from tests.capture.told import Told

MODES = ["conditional_savepoint", "rollback_only", "create_savepoint"]


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    total: Mapped[int]


class Looking(Told):
    """Sees with each notify what is in the database, as a load may that begins at once."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.seen: list[dict[int, int]] = []

    def notify_soon(self, entity: str, *ids: object, tags: Mapping[str, Any] | None = None) -> Future[Any]:
        reader = sqlite3.connect(self._path)
        self.seen.append(dict(reader.execute("select id, total from orders")))
        reader.close()
        return super().notify_soon(entity, *ids, tags=tags)

    def ids(self) -> list[Any]:
        return sorted(id for _, ids, _ in self.take() for id in ids)


@pytest.fixture
def told(tmp_path: Path) -> Looking:
    return Looking(tmp_path / "shop.db")


@pytest.fixture
def engine(tmp_path: Path):
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add_all([Order(id=id, total=0) for id in (1, 2, 3, 4)])
    with_savepoints(engine)
    yield engine
    engine.dispose()


def with_savepoints(engine: Any) -> None:
    """Have sqlite3 begin transactions when SQLAlchemy does."""

    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    engine.dispose()


@pytest.fixture
def sessions(engine: Any, told: Told):
    sessions = sessionmaker(engine)
    notify_on_commit(told, sessions, {Order: "orders"})
    return sessions


def change(sessions: Any, connection: Any, id: int, total: int = 7, **options: Any) -> None:
    with sessions(bind=connection, **options) as session:
        session.get(Order, id).total = total
        session.commit()


@pytest.mark.parametrize("mode", MODES)
def test_after_the_outer_commit(engine: Any, sessions: Any, told: Looking, mode: str):
    """A load that begins with the notify finds the change."""
    with engine.begin() as connection:
        change(sessions, connection, 1, join_transaction_mode=mode)
        assert told.ids() == []
    assert (told.ids(), told.seen[0][1]) == ([1], 7)


@pytest.mark.parametrize("mode", MODES)
def test_an_outer_rollback(engine: Any, sessions: Any, told: Looking, mode: str):
    """By itself, or by closing the connection; what comes after it is told."""
    with engine.connect() as connection:
        for roll_back in (True, False):
            with connection.begin() as transaction:
                change(sessions, connection, 1, join_transaction_mode=mode)
                if roll_back:
                    transaction.rollback()
                else:
                    change(sessions, connection, 2, join_transaction_mode=mode)
        assert told.ids() == [1, 2]
        connection.begin()
        change(sessions, connection, 3, join_transaction_mode=mode)
    assert told.ids() == []


def test_a_session_that_controls_the_transaction(engine: Any, sessions: Any, told: Looking):
    """Its commit is the connection's."""
    with engine.connect() as connection:
        connection.begin()
        change(sessions, connection, 1, join_transaction_mode="control_fully")
        assert (told.ids(), told.seen[0][1]) == ([1], 7)


@pytest.mark.parametrize(("mode", "expected"), list(zip(MODES, [[1], [1], []], strict=True)))
def test_a_session_that_is_closed(engine: Any, sessions: Any, told: Looking, mode: str, expected: list[int]):
    """What it flushed is the connection's, or gone with its savepoint; a rollback undoes it in any mode."""
    with engine.begin() as connection:
        with sessions(bind=connection, join_transaction_mode=mode) as session:
            session.get(Order, 1).total = 7
            session.flush()
        assert told.ids() == []
    assert told.ids() == expected
    with engine.connect() as connection:
        connection.begin()
        with sessions(bind=connection, join_transaction_mode=mode) as session:
            session.get(Order, 1).total = 8
            session.flush()
            session.rollback()
        connection.commit()
    assert told.ids() == []


@pytest.mark.parametrize("mode", MODES)
def test_outer_savepoints(engine: Any, sessions: Any, told: Looking, mode: str):
    """Those that are rolled back take along what was told in them, or in those that they hold."""
    with engine.begin() as connection:
        with connection.begin_nested():
            change(sessions, connection, 1, join_transaction_mode=mode)
        with connection.begin_nested() as savepoint:
            with connection.begin_nested():
                change(sessions, connection, 2, join_transaction_mode=mode)
            savepoint.rollback()
        with connection.begin_nested():
            with connection.begin_nested() as savepoint:
                change(sessions, connection, 3, join_transaction_mode=mode)
                savepoint.rollback()
            change(sessions, connection, 4, join_transaction_mode=mode)
        assert told.ids() == []
    assert told.ids() == [1, 4]


def test_savepoints_from_before(engine: Any, sessions: Any, told: Looking):
    """Those that were there before the first session are known as well, and those that nobody ends."""
    with engine.begin() as connection:
        with connection.begin_nested() as outer:
            with connection.begin_nested():
                change(sessions, connection, 1)
            outer.rollback()
        connection.begin_nested()
        change(sessions, connection, 2)
        with connection.begin_nested():
            change(sessions, connection, 3)
    assert told.ids() == [2, 3]


def test_a_savepoint_of_the_session(engine: Any, sessions: Any, told: Looking):
    """It is the session's own affair."""
    with engine.begin() as connection, sessions(bind=connection) as session:
        notify_after_commit(session, "orders", 9)
        with session.begin_nested():
            session.get(Order, 1).total = 7
        with session.begin_nested() as savepoint:
            session.get(Order, 2).total = 7
            session.flush()
            savepoint.rollback()
        session.commit()
    assert told.ids() == [1, 9]


def test_many_sessions_on_one_connection(engine: Any, sessions: Any, told: Looking):
    """Each key is held and told once, and nothing is left afterwards, not even the connection."""
    with engine.connect() as connection:
        for _ in range(2):
            with connection.begin():
                for total in range(20):
                    change(sessions, connection, 1, total)
            assert told.ids() == [1]
        assert len(list(connection.dispatch.commit)) == 1
        connection.begin()
        change(sessions, connection, 1)
        is_there = ref(connection)
    del connection
    gc.collect()
    assert is_there() is None


def test_an_outer_commit_of_unknown_outcome(engine: Any, sessions: Any, told: Looking):
    """It may have taken place, so it is told."""
    with engine.connect() as connection:
        connection.begin()
        change(sessions, connection, 1)
        assert told.ids() == []
        connection.connection.dbapi_connection = Lossy(connection.connection.dbapi_connection)
        with suppress(OperationalError):
            connection.commit()
    assert told.ids() == [1]


class Lossy:
    """A connection whose COMMIT is done, and the answer to it lost."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def commit(self) -> None:
        self._own.commit()
        raise sqlite3.OperationalError("connection lost")


def test_several_that_notify(engine: Any, sessions: Any, told: Looking, tmp_path: Path):
    """Each is told of what its own sessions changed."""
    other = Looking(tmp_path / "shop.db")
    others = sessionmaker(engine)
    notify_on_commit(other, others, {Order: "orders"})
    with engine.begin() as connection:
        change(sessions, connection, 1)
        change(others, connection, 2)
    assert (told.ids(), other.ids()) == ([1], [2])


def test_a_session_on_the_connection_of_another(sessions: Any, told: Looking):
    """The outermost transaction is the other session's."""
    with sessions.begin() as outer:
        outer.get(Order, 1).total = 7
        change(sessions, outer.connection(), 2)
        assert told.ids() == []
    assert told.ids() == [1, 2]


def test_a_connection_that_commits_by_itself(engine: Any, sessions: Any, told: Looking):
    """In AUTOCOMMIT nothing waits for anybody, whatever SQLAlchemy calls a transaction."""
    plain = create_engine(engine.url)
    with plain.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("select 1"))
        change(sessions, connection, 1)
        assert (told.ids(), told.seen[0][1]) == ([1], 7)
    plain.dispose()


@pytest.fixture
def in_two_phases(engine: Any):
    """SQLite has no two phases: the first does nothing here."""
    dialect = engine.dialect
    dialect.do_begin_twophase = lambda connection, _xid: connection.connection.execute("BEGIN")
    dialect.do_prepare_twophase = lambda _connection, _xid: None
    dialect.do_rollback_twophase = lambda connection, *_: dialect.do_rollback(connection.connection)
    dialect.do_commit_twophase = lambda connection, *_: dialect.do_commit(connection.connection)
    return dialect


@pytest.mark.usefixtures("in_two_phases")
def test_two_phases(engine: Any, sessions: Any, told: Looking):
    """An outer transaction in two phases is one."""
    with engine.connect() as connection:
        with connection.begin_twophase() as transaction:
            change(sessions, connection, 1)
            transaction.prepare()
            assert told.ids() == []
        assert (told.ids(), told.seen[0][1]) == ([1], 7)
        with connection.begin_twophase() as transaction:
            change(sessions, connection, 2)
            transaction.rollback()
        with connection.begin():
            change(sessions, connection, 3)
    assert told.ids() == [3]


def test_a_second_phase_of_unknown_outcome(sessions: Any, told: Looking, in_two_phases: Any):
    """It is told; a first phase that fails is not."""

    def fails(*_: object) -> None:
        raise sqlite3.OperationalError("connection lost")

    for name, expected in (("do_commit_twophase", [1]), ("do_prepare_twophase", [])):
        setattr(in_two_phases, name, fails)
        with suppress(OperationalError), sessions(twophase=True) as session:
            session.get(Order, 1).total += 1
            session.commit()
        assert told.ids() == expected


async def test_an_async_session_on_an_async_connection(tmp_path: Path):
    """Its client sees what was committed, and nothing before."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(text("insert into orders values (1, 0)"))
    sessions = async_sessionmaker(engine)
    sync = EntitySync()
    notify_on_commit(sync, sessions, {Order: "orders"})

    @sync.entity("orders")
    async def load(id: int) -> int | None:
        async with sessions() as session:
            order = await session.get(Order, id)
            return None if order is None else order.total

    async with sync, connect(sync) as client:
        await client.subscribe("orders", "1")
        assert (await client.receive_until("snapshot"))["rows"] == [{"data": 0}]
        async with engine.begin() as connection:
            async with sessions(bind=connection) as session:
                order = await session.get(Order, 1)
                assert order is not None
                order.total = 7
                await session.commit()
            await settled(sync)
            assert client.pending() == []
        assert (await client.receive_until("snapshot"))["rows"] == [{"data": 7}]
        committing = asyncio.Event()

        async def request() -> None:
            async with engine.connect() as connection:
                async with sessions(bind=connection) as session:
                    await connection.begin()
                    order = await session.get(Order, 1)
                    assert order is not None
                    order.total = 8
                    await session.commit()
                await connection.commit()

        event.listen(engine.sync_engine, "commit", lambda _connection: committing.set(), once=True)
        task = asyncio.create_task(request())
        await committing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await client.receive_until("snapshot"))["rows"] == [{"data": 8}]
    await engine.dispose()
