"""Whoever committed can have the receipt of what was notified, and wait for a view that covers it."""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, update
from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from entity_sync import ConfigurationError, EntitySync, Reads, Receipt
from entity_sync.capture.sqlalchemy import (
    Watched,
    notified,
    notified_soon,
    notify_after_commit,
    notify_on_commit,
)
from entity_sync.capture.told import Told as Notified
from entity_sync.testing import connect, settled
from tests.capture.told import Told


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(default="ann")


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[int] = mapped_column(default=7)


@pytest.fixture
async def sync():
    sync = EntitySync()

    @sync.entity("customers")
    async def customers(id: int) -> bool:
        return True

    @sync.entity("customer_orders", rows=("orders", "id"))
    async def orders(id: int) -> list[object]:
        return [Reads("orders", customer=id)]

    async with sync:
        yield sync


@pytest.fixture
async def sessions(tmp_path: Path, sync: EntitySync):
    """Async ones; the two calls watch one class each, as modules of an application may."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    sessions: Any = async_sessionmaker(engine)
    notify_on_commit(sync, sessions, {Customer: "customers"})
    notify_on_commit(sync, sessions, {Order: Watched("orders", tags=("customer",))})
    yield sessions
    await engine.dispose()


@pytest.fixture
def plain(tmp_path: Path):
    engine = create_engine(f"sqlite:///{tmp_path}/plain.db")
    Base.metadata.create_all(engine)
    yield sessionmaker(engine)
    engine.dispose()


async def test_one_token_for_all_that_a_commit_changed(sync: EntitySync, sessions: Any):
    """Views of either call, one that holds the row and one that only reads such rows, are told of it."""
    async with connect(sync) as client:
        await client.subscribe("customers", 7, causes=True)
        await client.subscribe("customer_orders", 7, causes=True)
        await settled(sync)
        client.pending()
        async with sessions.begin() as session:
            session.add_all([Customer(id=7), Order(id=1), Order(id=2, customer=8)])
        receipt = await notified(session)
        assert receipt is not None
        assert receipt.status == "accepted"
        await settled(sync)
        told = {message["entity"]: message["causes"] for message in client.pending() if "entity" in message}
        assert told == {"customers": [receipt.token], "customer_orders": [receipt.token]}


async def test_each_commit_has_its_own(sessions: Any):
    """The last one counts, whatever only read since; each transaction has another token."""
    async with sessions() as session:
        assert await notified(session) is None
        session.add(Customer(id=7))
        await session.commit()
        first = await notified(session)
        assert first is not None
        await session.get(Customer, 7)
        await session.commit()
        assert await notified(session) == first
        notify_after_commit(session, "orders", 1)
        await session.commit()
        second = await notified(session)
        assert second is not None
        assert second.token != first.token


async def test_nothing_after_a_rollback(sessions: Any):
    """Neither of the first transaction of a session, nor of a later one; a savepoint is not all."""
    async with sessions() as session:
        session.add(Customer(id=7))
        await session.flush()
        await session.rollback()
        assert await notified(session) is None
        session.add(Customer(id=7))
        savepoint = await session.begin_nested()
        session.add(Customer(id=8))
        await session.flush()
        await savepoint.rollback()
        await session.commit()
        assert await notified(session) is not None
        session.add(Customer(id=9))
        await session.flush()
        await session.close()
        assert await notified(session) is None


async def test_asked_too_early(sessions: Any):
    """Before the commit there is nothing yet, and it says so: flushed or not, or a statement."""
    async with sessions() as session:
        for change in (lambda: session.add(Customer(id=7)), session.flush):
            if (waiting := change()) is not None:
                await waiting
            with pytest.raises(RuntimeError, match="ask after the commit"):
                await notified(session)
        await session.rollback()
        await session.execute(update(Customer).values(name="bob"))
        with pytest.raises(RuntimeError, match="ask after the commit"):
            await notified(session)


async def test_a_session_of_a_thread(sync: EntitySync, plain: Any):
    """It waits there, while the loop of the application goes on."""
    notify_on_commit(sync, plain, {Customer: "customers"})

    def change() -> Receipt | None:
        with plain.begin() as session:
            session.add(Customer(id=7))
        return notified_soon(session).result(30)

    receipt = await asyncio.to_thread(change)
    assert receipt is not None
    assert receipt.status == "accepted"


async def test_a_scoped_session(sessions: Any):
    """Until it is removed it is the one that committed."""
    scoped: Any = async_scoped_session(sessions, asyncio.current_task)
    scoped.add(Customer(id=7))
    await scoped.commit()
    assert await notified(scoped) is not None
    await scoped.remove()
    assert await notified(scoped) is None


async def test_nothing_that_nobody_asks_for_is_kept(sessions: Any):
    """After many commits a session keeps what the last one told."""
    async with sessions() as session:
        for id in range(1, 50):
            session.add_all([Customer(id=id), Order(id=id, customer=id)])
            await session.commit()
        kept = [one for one in session.sync_session.info.values() if isinstance(one, Notified)]
        assert [len(one._futures) for one in kept] == [2]


async def test_ids_that_cannot_be(sync: EntitySync, plain: Any, caplog: pytest.LogCaptureFixture):
    """What can be is told, with a receipt; without any there is none."""
    notify_on_commit(sync, plain, {Customer: Watched("customers", id="name")})
    with plain.begin() as session:
        session.add_all([Customer(name=name) for name in ("7", "07", "8")])
    assert await notified(session) is not None
    with plain.begin() as session:
        session.add(Customer(name="09"))
    assert await notified(session) is None
    assert caplog.text.count("whose ids cannot be") == 2


async def test_nobody_was_told(plain: Any, caplog: pytest.LogCaptureFixture):
    """Where Entity Sync does not run, and of what notifies without a receipt."""
    stopped = EntitySync("memory://")
    stopped.entity("customers")(load)
    notify_on_commit(stopped, plain, {Customer: "customers"})
    notify_on_commit(told := Told(), plain, {Customer: "names"})
    with plain.begin() as session:
        session.add(Customer(id=7))
    assert await notified(session) is None
    assert told.take() == [("names", [7], None)]
    assert "does not run in this process" in caplog.text
    with Session(plain.kw["bind"]) as other, pytest.raises(ConfigurationError, match="see notify_on_commit"):
        await notified(other)


async def load(id: int) -> None: ...


def test_what_became_of_all():
    """It is deferred if one of them is, and a failure of another hides nothing."""
    session = Session()
    told = Notified.last(session)
    waiting: list[Future[Any]] = [Future() for _ in range(5)]
    for future in waiting:
        told.add(future, told.token)
    receipt = told.receipt()
    waiting[4].set_result(Receipt("accepted", told.token))
    waiting[1].set_result(Receipt("deferred", told.token))
    waiting[3].cancel()
    waiting[0].set_exception(RuntimeError("gone"))
    assert not receipt.done()
    waiting[2].set_result(Receipt("accepted", told.token))
    assert receipt.result() == Receipt("deferred", told.token)
    assert Notified.last(session).receipt().result() is None


def test_a_later_token():
    """What is told once more under another token is all of it, so that one counts, and its failure too."""
    told = Notified.last(Session())
    first, second = told.token, "later"
    for token in (first, second):
        future: Future[Any] = Future()
        told.add(future, token)
        assert not told.receipt().done()
        future.set_result(Receipt("accepted", token))
        assert told.receipt().result() == Receipt("accepted", token)
    told.add(None, "last")
    assert told.receipt().result() is None


def test_what_may_be_told_yet():
    """It waits for those that are there: what is lost will tell nothing."""

    class Other:
        is_open = True

        def is_in_transaction(self) -> bool:
            return self.is_open

    told = Notified.last(Session())
    others = [Other(), Other(), Other(), Other()]
    for other in others:
        told.wait_for(other)
    told.wait_no_longer_for(others.pop())
    told.wait_no_longer_for(others.pop())
    others.pop().is_open = False
    del other
    assert told.is_waiting
    others.clear()
    gc.collect()
    assert not told.is_waiting
