"""Statements pass the unit of work by: they are warned of where their transaction tells nothing."""

from __future__ import annotations

import inspect
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, delete, insert, select, update
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from entity_sync.capture.sqlalchemy import Watched, notify_after_commit, notify_on_commit
from tests.capture.told import Told


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    total: Mapped[int] = mapped_column(default=0)


class Line(Base):
    __tablename__ = "lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    order: Mapped[int] = mapped_column(default=1)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def sessions(tmp_path: Path, told: Told):
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add_all([Order(id=1), Order(id=2), Line(id=1)])
    sessions = sessionmaker(engine)
    notify_on_commit(told, sessions, {Order: "orders"})
    notify_on_commit(told, sessions, {Line: Watched("orders", id="order")})
    yield sessions
    engine.dispose()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture):
    """What was warned of so far, each up to the reason."""
    return lambda: [record.getMessage().partition(": which")[0] for record in caplog.records]


def number() -> int:
    """The line that calls."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def test_a_line_that_says_nothing(sessions: Any, told: Told, caplog: pytest.LogCaptureFixture):
    """It is named, once, and what to do."""
    for _ in range(2):
        with sessions.begin() as session:
            session.execute(update(Order).values(total=1))
    assert told.take() == []
    (record,) = caplog.records
    assert record.getMessage() == (
        f"UPDATE of Order by a statement at {__file__}:{number() - 4}: which keys it changes is not known, "
        "and its transaction notified none of orders; say them by "
        "notify_after_commit(session, 'orders', ...)"
    )


def test_each_line(sessions: Any, lines: Any):
    """Another line, or another verb, is another mistake."""
    with sessions.begin() as session:
        session.execute(select(Order))
        session.execute(update(Order).values(total=1))
        session.execute(update(Order).values(total=2))
        session.execute(insert(Order), [{"id": 3}])
        session.execute(delete(Line))
    here = number()
    expected = ["UPDATE of Order", "UPDATE of Order", "INSERT of Order", "DELETE of Line"]
    assert sorted(lines()) == sorted(
        f"{what} by a statement at {__file__}:{here - 4 + place}" for place, what in enumerate(expected)
    )


async def test_the_line_of_an_async_session(tmp_path: Path, told: Told, lines: Any):
    """Its statement runs in a greenlet, where the line is not among the callers."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/async.db")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    sessions = async_sessionmaker(engine)
    notify_on_commit(told, sessions, {Order: "orders"})
    async with sessions.begin() as session:
        await session.execute(update(Order).values(total=1))
    assert lines() == [f"UPDATE of Order by a statement at {__file__}:{number() - 1}"]
    async with sessions.begin() as session:
        await session.run_sync(lambda own: own.execute(delete(Order)))
    assert lines()[1:] == [f"DELETE of Order by a statement at {__file__}:{number() - 1}"]
    await engine.dispose()


@pytest.mark.parametrize("is_first", [True, False])
def test_what_is_said(sessions: Any, told: Told, lines: Any, is_first: bool):
    """Before the statement or after it: nobody is warned of what he says."""
    with sessions.begin() as session:
        if is_first:
            notify_after_commit(session, "orders", 1, 2)
        session.execute(update(Order).values(total=1))
        if not is_first:
            notify_after_commit(session, "orders", 1, 2)
    assert (told.take(), lines()) == ([("orders", [1, 2], None)], [])


@pytest.mark.parametrize("kind", [Order, Line])
def test_what_objects_say(sessions: Any, told: Told, lines: Any, kind: type):
    """So do tracked objects, also of another class whose rows are keys of the entity."""
    with sessions.begin() as session:
        session.execute(update(Order).values(total=1))
        changed = session.get(kind, 1)
        changed.total = changed.order = 2
    assert lines() == []


def test_another_entity_says_nothing(sessions: Any, lines: Any):
    """Keys of others are none of these."""
    with sessions.begin() as session:
        notify_after_commit(session, "others", 1)
        session.execute(update(Order).values(total=1))
    assert len(lines()) == 1


def test_what_is_rolled_back(sessions: Any, lines: Any):
    """Nothing has changed, neither in a transaction nor in a savepoint; and of those what was said is not."""
    with sessions() as session:
        session.execute(update(Order).values(total=1))
        session.rollback()
    with sessions.begin() as session, suppress(ZeroDivisionError), session.begin_nested():
        session.execute(update(Order).values(total=1))
        raise ZeroDivisionError
    assert lines() == []
    with sessions.begin() as session:
        with session.begin_nested():
            session.execute(update(Order).values(total=1))
        with suppress(ZeroDivisionError), session.begin_nested():
            notify_after_commit(session, "orders", 1)
            raise ZeroDivisionError
    assert len(lines()) == 1
