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
from sqlalchemy import create_engine, event, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from entity_sync import EntitySync
from entity_sync.capture.sqlalchemy import (
    Watched,
    notified,
    notified_soon,
    notify_after_commit,
    notify_on_commit,
)
from entity_sync.testing import connect, settled
from tests.capture.orders import watching
from tests.capture.told import Told

MODES = ["conditional_savepoint", "rollback_only", "create_savepoint"]


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    total: Mapped[int]


class Other(Base):
    __tablename__ = "others"
    id: Mapped[int] = mapped_column(primary_key=True)


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
    async with watching(tmp_path) as order:
        async with order.engine.begin() as connection:
            async with order.sessions(bind=connection) as session:
                await order.set(session, 7)
                await session.commit()
            await settled(order.sync)
            assert order.client.pending() == []
        assert await notified(session) is not None
        assert await order.shown() == 7

        async def request() -> None:
            async with order.engine.connect() as connection:
                async with order.sessions(bind=connection) as session:
                    await connection.begin()
                    await order.set(session, 8)
                    await session.commit()
                await connection.commit()

        await order.cut_off(request())
        assert await order.shown() == 8


@pytest.fixture
async def sync(sessions: Any):
    """One more that notifies, with receipts; a row of its is part of two entities."""
    sync = EntitySync()
    for name in ("rows", "totals"):
        sync.entity(name)(load)
    notify_on_commit(sync, sessions, {Order: ["rows", Watched("totals", id="total")]})
    async with sync:
        yield sync


async def load(id: int) -> int:
    return id


async def flushed(session: Any, *ids: int) -> None:
    for id in ids:
        session.get(Order, id).total = 7
    session.flush()
    with pytest.raises(RuntimeError, match="ask after the commit"):
        await notified(session)


@pytest.mark.parametrize("mode", MODES)
async def test_its_receipt(engine: Any, sessions: Any, sync: EntitySync, mode: str):
    """It comes with the outer commit, after which views show the change; before that there is nothing."""
    async with connect(sync) as client:
        await client.subscribe("rows", "1", causes=True)
        await client.subscribe("totals", "7", causes=True)
        await settled(sync)
        client.pending()
        with engine.begin() as connection, sessions(bind=connection, join_transaction_mode=mode) as session:
            await flushed(session, 1)
            session.commit()
            with pytest.raises(RuntimeError, match="ask after the commit"):
                await notified(session)
        receipt = await notified(session)
        assert receipt is not None
        assert receipt.status == "accepted"
        await settled(sync)
        shown = {message["entity"]: message["causes"] for message in client.pending() if "causes" in message}
        assert shown == {"rows": [receipt.token], "totals": [receipt.token]}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ends", ["rollback", "close", "invalidate"])
async def test_no_receipt_of_an_outer_rollback(
    engine: Any, sessions: Any, sync: EntitySync, mode: str, ends: str
):
    """However it comes about, and whether or not the session had committed; nor that of before."""
    for commits in (True, False):
        with engine.connect() as connection, sessions() as session:
            session.get(Order, 3).total += 1
            session.commit()
            assert await notified(session) is not None
            session.bind = connection
            session.join_transaction_mode = mode
            transaction = connection.begin()
            await flushed(session, 1)
            if commits:
                session.commit()
            else:
                session.close()
            if ends == "rollback":
                transaction.rollback()
                connection.begin()
            elif ends == "close":
                connection.close()
            else:
                connection.invalidate()
                transaction.close()
            assert await notified(session) is None


async def test_receipts_of_many_sessions(engine: Any, sessions: Any, sync: EntitySync):
    """One token is that of all, except of those that a savepoint took along; the next commit has its own."""
    with engine.connect() as connection:
        with connection.begin():
            with sessions(bind=connection) as first, connection.begin_nested():
                await flushed(first, 1)
                first.commit()
            with sessions(bind=connection) as second, connection.begin_nested() as savepoint:
                await flushed(second, 2)
                second.commit()
                savepoint.rollback()
            assert await notified(second) is None
            with sessions(bind=connection) as third:
                await flushed(third, 3)
                third.commit()
            with pytest.raises(RuntimeError, match="ask after the commit"):
                await notified(first)
        receipt = await notified(first)
        assert receipt is not None
        assert await notified(third) == receipt
        assert await notified(second) is None
        with connection.begin(), sessions(bind=connection) as fourth:
            assert await notified(first) == receipt
            notify_after_commit(fourth, "rows", 4)
            fourth.commit()
        other = await notified(fourth)
        assert other is not None
        assert other.token != receipt.token


async def test_a_receipt_for_a_thread(engine: Any, sessions: Any, sync: EntitySync):
    """It waits there; of a session that is closed without a commit, too."""

    def change_it() -> Any:
        with engine.begin() as connection, sessions(bind=connection) as session:
            session.get(Order, 1).total = 7
            session.flush()
        return notified_soon(session).result(30)

    assert await asyncio.to_thread(change_it) is not None


async def test_the_receipt_of_an_outer_commit_of_unknown_outcome(
    engine: Any, sessions: Any, sync: EntitySync
):
    """There is one, as it was told."""
    with engine.connect() as connection:
        connection.begin()
        with sessions(bind=connection) as session:
            await flushed(session, 1)
            session.commit()
        connection.connection.dbapi_connection = Lossy(connection.connection.dbapi_connection)
        with suppress(OperationalError):
            connection.commit()
        assert await notified(session) is not None


async def test_a_receipt_that_nobody_can_give(engine: Any, sessions: Any, sync: EntitySync):
    """A connection that is lost keeps nobody waiting, nor does a COMMIT that is not sent."""
    for is_lost in (True, False):
        connection = engine.connect()
        connection.begin()
        with sessions(bind=connection) as session:
            await flushed(session, 1)
            session.commit()
        session.bind = engine
        if is_lost:
            del connection
            gc.collect()
        else:
            event.listen(connection, "commit", lambda _connection: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                connection.commit()
            assert await notified(session) is None
            connection.close()
        assert await notified(session) is None


async def test_the_receipt_of_two_connections(engine: Any, sessions: Any, sync: EntitySync, tmp_path: Path):
    """The last one that commits is told all, so it is its token that counts."""
    await settled(sync)
    other = create_engine(f"sqlite:///{tmp_path}/other.db")
    Base.metadata.create_all(other)
    for id, outer_commits in enumerate([True, False]):
        with other.connect() as connection:
            connection.begin()
            with sessions(binds={Order: engine, Other: connection}) as session:
                session.add(Other(id=id))
                await flushed(session, 1)
                session.get(Order, 1).total += 1
                session.commit()
                with pytest.raises(RuntimeError, match="ask after the commit"):
                    await notified(session)
            async with connect(sync) as client:
                await client.subscribe("rows", "1", causes=True)
                if outer_commits:
                    connection.commit()
                else:
                    connection.rollback()
                receipt = await notified(session)
                assert receipt is not None
                await settled(sync)
                causes = [message["causes"] for message in client.pending() if "causes" in message]
                assert causes[-1][-1] == receipt.token
    other.dispose()


async def test_a_receipt_on_the_connection_of_another_session(
    sessions: Any, sync: EntitySync, caplog: pytest.LogCaptureFixture
):
    """Each session has its own, and both with the outer one's commit; no notify overtakes it."""
    asyncio.get_running_loop().set_debug(True)
    with sessions.begin() as outer:
        outer.get(Order, 1).total = 7
        with sessions(bind=outer.connection()) as inner:
            await flushed(inner, 2)
            inner.commit()
            with pytest.raises(RuntimeError, match="ask after the commit"):
                await notified(inner)
    receipts = [await notified(session) for session in (outer, inner)]
    assert None not in receipts
    assert "inside an open transaction" not in caplog.text


async def test_statements_of_a_session_that_joined(
    engine: Any, sessions: Any, sync: EntitySync, caplog: pytest.LogCaptureFixture
):
    """Whose keys are said by itself are not warned of, and have their receipt."""
    with engine.begin() as connection, sessions(bind=connection) as session:
        session.execute(update(Order).values(total=9))
        for entity in ("rows", "totals", "orders"):
            notify_after_commit(session, entity, 9)
        session.commit()
    assert await notified(session) is not None
    assert "by a statement" not in caplog.text
