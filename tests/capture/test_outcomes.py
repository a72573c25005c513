"""What is told of a COMMIT whose outcome nobody knows."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import nullcontext, suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import ForeignKey, create_engine, event, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from entity_sync import EntitySync
from entity_sync.capture import ledgers
from entity_sync.capture.sqlalchemy import notified, notified_soon, notify_on_commit
from entity_sync.testing import connect, settled
from tests.capture.orders import watching
from tests.capture.told import Told
from tests.hub.virtual import in_virtual_time


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    total: Mapped[int]


class Part(Base):
    __tablename__ = "parts"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(
        ForeignKey("orders.id", deferrable=True, initially="DEFERRED"), unique=True
    )


CLASSES: dict[type, Any] = {Order: "orders", Part: "parts"}


class Lossy(sqlite3.Connection):
    """One whose COMMIT is done, and the answer to it lost."""

    is_lossy = False

    def commit(self) -> None:
        super().commit()
        if self.is_lossy:
            raise sqlite3.OperationalError("connection lost")


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def engine(tmp_path: Path):
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db", connect_args={"factory": Lossy})
    event.listen(engine, "connect", lambda connection, _record: connection.execute("PRAGMA foreign_keys=ON"))
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add_all([Order(id=id, total=0) for id in (1, 2, 3)])
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine: Any, told: Told):
    sessions = sessionmaker(engine)
    notify_on_commit(told, sessions, CLASSES)
    return sessions


@pytest.fixture
def lossy(monkeypatch: pytest.MonkeyPatch, sessions: Any):
    monkeypatch.setattr(Lossy, "is_lossy", True)
    return sessions


@pytest.mark.parametrize("style", ["begin", "commit", "rollback"])
def test_an_answer_that_is_lost(lossy: Any, told: Told, style: str):
    """The row is changed, so it is told, whatever the application does with the error."""
    if style == "begin":
        with suppress(OperationalError), lossy.begin() as session:
            session.get(Order, 1).total = 1
    else:
        with lossy() as session:
            session.get(Order, 1).total = 1
            with pytest.raises(OperationalError):
                session.commit()
            if style == "rollback":
                session.rollback()
    with lossy() as session:
        assert session.get(Order, 1).total == 1
    assert told.take() == [("orders", [1], None)]


def test_a_session_goes_on(lossy: Any, told: Told, monkeypatch: pytest.MonkeyPatch):
    """The next transaction of the same session, and one that rolls back, tell their own."""
    with lossy() as session:
        session.get(Order, 1).total = 1
        with suppress(OperationalError):
            session.commit()
        session.rollback()
        assert told.take() == [("orders", [1], None)]
        monkeypatch.setattr(Lossy, "is_lossy", False)
        session.get(Order, 2).total = 2
        session.flush()
        session.rollback()
        assert told.take() == []
        session.get(Order, 3).total = 3
        session.commit()
        assert told.take() == [("orders", [3], None)]


def test_a_savepoint_that_was_rolled_back(lossy: Any, told: Told):
    """It is in no outcome of the COMMIT; one that was released may be."""
    with suppress(OperationalError), lossy.begin() as session:
        with session.begin_nested():
            session.get(Order, 1).total = 1
        with suppress(ZeroDivisionError), session.begin_nested():
            session.get(Order, 2).total = 2
            session.flush()
            raise ZeroDivisionError
    assert told.take() == [("orders", [1], None)]


def test_what_fails_before_the_commit(sessions: Any, told: Told):
    """A flush, also that of the commit itself, and a hook: nothing was sent to the database."""
    with sessions() as session:
        session.get(Order, 1).total = 1
        session.flush()
        session.add_all([Part(id=1, order_id=1), Part(id=2, order_id=1)])
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
    with sessions() as session:
        event.listen(session, "before_commit", lambda _session: 1 / 0)
        session.get(Order, 1).total = 1
        session.flush()
        with pytest.raises(ZeroDivisionError):
            session.commit()
    assert told.take() == []


def test_a_commit_that_is_refused(sessions: Any, told: Told):
    """Nobody can tell it from one that took place: it is told, and loads what was there before."""
    with sessions() as session:
        session.add(Part(id=1, order_id=77))
        with pytest.raises(IntegrityError):
            session.commit()
    assert told.take() == [("parts", [1], None)]


class AlwaysLossy(Lossy):
    is_lossy = True


def test_of_two_databases_one_fails(sessions: Any, told: Told, tmp_path: Path):
    """What may be in the other is told."""
    other = create_engine(f"sqlite:///{tmp_path}/other.db")
    Base.metadata.create_all(other)
    other = create_engine(f"sqlite:///{tmp_path}/other.db", connect_args={"factory": AlwaysLossy})
    both: Any = sessionmaker(binds={Order: sessions.kw["bind"], Part: other})
    notify_on_commit(told, both, CLASSES)
    with both() as session:
        session.get(Order, 1).total = 1
        session.add(Part(id=1, order_id=1))
        with pytest.raises(OperationalError):
            session.commit()  # and no rollback: SQLAlchemy warns of one after the other's commit
    other.dispose()
    assert told.take() == [("orders", [1], None), ("parts", [1], None)]


@in_virtual_time
async def test_it_is_told_again(tmp_path: Path):
    """The COMMIT may still be under way when the first load reads: a second one is after it."""
    told = Told()
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db", connect_args={"factory": Lossy})
    Base.metadata.create_all(engine)
    sessions = sessionmaker(engine)
    notify_on_commit(told, sessions, CLASSES)
    with sessions.begin() as session:
        session.add(Order(id=1, total=0))
    Lossy.is_lossy = True
    with suppress(OperationalError), sessions.begin() as session:
        session.add(Order(id=2, total=0))
    Lossy.is_lossy = False
    engine.dispose()
    assert told.take() == [("orders", [1], None), ("orders", [2], None)]
    await asyncio.sleep(ledgers.AGAIN * 0.9)
    assert told.take() == []
    await asyncio.sleep(ledgers.AGAIN * 0.2)
    assert told.take() == [("orders", [2], None)]
    await asyncio.sleep(ledgers.AGAIN * 10)
    assert told.take() == []


def test_it_is_told_again_where_no_loop_runs(lossy: Any, told: Told, monkeypatch: pytest.MonkeyPatch):
    """Where a plain session commits in a thread."""
    monkeypatch.setattr(ledgers, "AGAIN", 0)
    twice = Event()
    notify = told.notify_soon

    def counted(*said: Any, tags: Any = None) -> Any:
        done = notify(*said, tags=tags)
        if told.calls[1:]:
            twice.set()
        return done

    monkeypatch.setattr(told, "notify_soon", counted)
    with suppress(OperationalError), lossy.begin() as session:
        session.get(Order, 1).total = 1
    assert twice.wait(10)
    assert told.take() == [("orders", [1], None)] * 2


async def test_a_request_that_is_cancelled_while_it_commits(tmp_path: Path):
    """The client sees what is in the database."""
    async with watching(tmp_path) as order:

        async def request() -> None:
            async with order.sessions() as session:
                await order.set(session, 7)
                await session.commit()

        await order.cut_off(request())
        assert await order.shown() == 7


@pytest.fixture
async def sync(sessions: Any):
    """One more that notifies, with receipts."""
    sync = EntitySync()

    @sync.entity("totals")
    async def load(id: int) -> int:
        with sessions() as session:
            return int(session.get(Order, id).total)

    notify_on_commit(sync, sessions, {Order: "totals"})
    async with sync:
        yield sync


async def test_its_receipt(lossy: Any, sync: EntitySync, monkeypatch: pytest.MonkeyPatch):
    """It is that of the notify, once the transaction is over; the second notify has the same token."""
    monkeypatch.setattr(ledgers, "AGAIN", 0)
    async with connect(sync) as client:
        await client.subscribe("totals", "1", causes=True)
        await settled(sync)
        client.pending()
        with lossy() as session:
            session.get(Order, 1).total = 7
            with pytest.raises(OperationalError):
                session.commit()
            with pytest.raises(RuntimeError, match="ask after the commit"):
                await notified(session)
        receipt = await notified(session)
        assert receipt is not None
        assert receipt.status == "accepted"
        causes: list[str] = []
        while len(causes) < 2:
            causes += (await client.receive_until("current"))["causes"]
        assert causes == [receipt.token] * 2
        assert await notified(session) == receipt


@in_virtual_time
async def test_a_node_that_has_stopped_since(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """It is not told again, and nobody is to blame for that; a commit after the stop is warned of."""
    sync = EntitySync("memory://")
    sync.entity("orders")(stopped)
    Base.metadata.create_all(create_engine(f"sqlite:///{tmp_path}/shop.db"))
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db", connect_args={"factory": AlwaysLossy})
    sessions = sessionmaker(engine)
    notify_on_commit(sync, sessions, {Order: "orders"})
    for is_warned in (False, True):
        async with sync if not is_warned else nullcontext():
            with suppress(OperationalError), sessions.begin() as session:
                session.add(Order(id=int(is_warned), total=0))
            assert (await notified(session) is None) == is_warned
        await asyncio.sleep(ledgers.AGAIN * 2)
        assert caplog.text.count("does not run in this process") == int(is_warned)
    engine.dispose()


async def stopped(id: int) -> None: ...


async def test_a_receipt_for_a_thread(lossy: Any, sync: EntitySync):
    """It waits there."""

    def change() -> Any:
        with suppress(OperationalError), lossy.begin() as session:
            session.get(Order, 1).total = 7
        return notified_soon(session).result(30)

    assert await asyncio.to_thread(change) is not None


async def test_no_receipt_without_a_commit(sessions: Any, sync: EntitySync):
    """What failed before it was rolled back."""
    with sessions() as session:
        event.listen(session, "before_commit", lambda _session: 1 / 0)
        session.get(Order, 1).total = 7
        session.flush()
        with pytest.raises(ZeroDivisionError):
            session.commit()
    assert await notified(session) is None


async def test_no_receipt_of_a_statement(lossy: Any, sync: EntitySync):
    """Nobody knows its keys, so nothing was told."""
    with suppress(OperationalError), lossy.begin() as session:
        session.execute(update(Order).values(total=7))
    assert await notified(session) is None
