"""What a SQLAlchemy session changed is notified when it has committed, and not before, and not otherwise."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    TypeDecorator,
    create_engine,
    delete,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    load_only,
    mapped_column,
    relationship,
    scoped_session,
    sessionmaker,
)

from entity_sync import ConfigurationError, EntitySync, Reads
from entity_sync.capture.sqlalchemy import Watched, notify_after_commit, notify_on_commit
from entity_sync.capture.statements import changes
from entity_sync.testing import connect, settled
from tests.capture.told import Told


class Base(DeclarativeBase):
    pass


class Status(Enum):
    OPEN = "open"


class Spelled(TypeDecorator[str]):
    """Text that the database keeps as a number."""

    impl = Float
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> float | None:
        return None if value is None else {"long": 2.0, "short": 1.0}[value]

    def process_result_value(self, value: float | None, dialect: Any) -> str | None:
        return None if value is None else {2.0: "long", 1.0: "short"}[value]


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"))
    total: Mapped[int] = mapped_column(default=0)


class Parcel(Base):
    __tablename__ = "parcels"
    code: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[int | None]
    labels: Mapped[list[Label]] = relationship(cascade="all, delete-orphan")


class Label(Base):
    __tablename__ = "labels"
    id: Mapped[int] = mapped_column(primary_key=True)
    parcel: Mapped[str] = mapped_column(ForeignKey("parcels.code"))


class Line(Base):
    __tablename__ = "lines"
    order_id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)


ORDERS: Any = Order.__table__
OTHERS = Table("others", MetaData(), Column("total", Integer))

CLASSES: dict[type, str | Watched] = {
    Customer: "customers",
    Order: Watched("orders", tags=("customer_id",)),
    Line: Watched("orders", id="order_id"),
}


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def sessions(tmp_path: Path, told: Told):
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add_all([Customer(id=id, name=f"name {id}") for id in (7, 9)])
        session.add_all([Order(id=id, customer_id=7) for id in (1, 2, 3)])
    sessions = sessionmaker(engine)
    notify_on_commit(told, sessions, CLASSES)
    yield sessions
    engine.dispose()


def test_after_the_commit(sessions: Any, told: Told):
    """Inserts (with the key the database gave), changes and deletions, each once, when all is committed."""
    with sessions() as session:
        session.add(Order(customer_id=9))
        session.get(Customer, 7).name = "new"
        session.flush()
        session.get(Customer, 7).name = "newer"
        session.delete(session.get(Order, 2))
        session.flush()
        assert told.take() == []
        session.commit()
        assert told.take() == [
            ("customers", [7], None),
            ("orders", [2], {"customer_id": ["7"]}),
            ("orders", [4], {"customer_id": ["9"]}),
        ]
        session.get(Customer, 9).name = "second transaction"
        session.commit()
        assert told.take() == [("customers", [9], None)]


def test_a_rollback_tells_nothing(sessions: Any, told: Told):
    """Neither does closing without a commit, nor an exception, nor what was not changed."""
    with sessions() as session:
        session.get(Customer, 7).name = "never"
        session.flush()
        session.rollback()
        session.get(Customer, 7).name = "neither"
        session.flush()
    with suppress(ZeroDivisionError), sessions.begin() as session:
        session.get(Customer, 7).name = "nor this"
        session.flush()
        raise ZeroDivisionError
    with sessions.begin() as session:
        session.get(Customer, 7).name = "name 7"
    assert told.take() == []


def test_savepoints(sessions: Any, told: Told):
    """A savepoint that is rolled back takes its keys along, and one that is released leaves them here."""
    with sessions.begin() as session:
        session.get(Customer, 7).name = "outer"
        session.flush()
        with suppress(ZeroDivisionError), session.begin_nested():
            session.get(Order, 1).total = 1
            session.flush()
            raise ZeroDivisionError
        with session.begin_nested():
            session.get(Order, 2).total = 2
            with session.begin_nested():
                session.get(Order, 3).total = 3
        with session.begin_nested() as savepoint:
            session.get(Customer, 9).name = "inner"
            session.flush()
            savepoint.rollback()
        assert told.take() == []
    assert told.take() == [("customers", [7], None), ("orders", [2, 3], {"customer_id": ["7"]})]


def test_a_row_that_moves(sessions: Any, told: Told):
    """Old and new customer are told; an old value that was never read is left open, and so matches all."""
    with sessions.begin() as session:
        session.get(Order, 1).customer_id = 9
    assert told.take() == [("orders", [1], {"customer_id": ["7", "9"]})]
    with sessions.begin() as session:
        order = session.get(Order, 2)
        session.expire(order, ["customer_id"])
        order.customer_id = 9
    assert told.take() == [("orders", [2], {})]
    with sessions.begin() as session:
        order = session.get(Order, 3)
        order.customer_id = 9
        session.flush()
        order.customer_id = 7
        session.flush()
        order.total = 5
    assert told.take() == [("orders", [3], {"customer_id": ["7", "9"]})]


def test_other_ids(sessions: Any, told: Told):
    """A class whose rows are parts of another entity names the attribute that is the id."""
    with sessions.begin() as session:
        session.add_all([Line(order_id=1, number=number) for number in range(3)])
    assert told.take() == [("orders", [1], None)]


def test_an_id_that_changes(sessions: Any, told: Told, caplog: pytest.LogCaptureFixture):
    """The old key is told too; if nobody knows it, the log says so; None is nobody's id."""
    notify_on_commit(told, sessions, {Parcel: "parcels"})
    notify_on_commit(told, sessions, {Parcel: Watched("parcels_of", id="order_id")})
    with sessions.begin() as session:
        session.add(Parcel(code="a", order_id=1))
    assert told.take() == [("parcels", ["a"], None), ("parcels_of", [1], None)]
    with sessions.begin() as session:
        parcel = session.get(Parcel, "a")
        parcel.code, parcel.order_id = "b", 2
    assert told.take() == [("parcels", ["b", "a"], None), ("parcels_of", [2, 1], None)]
    with sessions.begin() as session:
        session.get(Parcel, "b").order_id = None
    assert told.take() == [("parcels", ["b"], None), ("parcels_of", [2], None)]
    assert caplog.text == ""
    with sessions.begin() as session:
        parcel = session.get(Parcel, "b")
        session.expire(parcel, ["order_id"])
        parcel.order_id = 3
    assert told.take() == [("parcels", ["b"], None), ("parcels_of", [3], None)]
    assert "Parcel.order_id was changed without being loaded" in caplog.text


def test_orphans(sessions: Any, told: Told):
    """What its parent lets go of is deleted, and told."""
    notify_on_commit(told, sessions, {Label: Watched("labels", tags=("parcel",))})
    with sessions.begin() as session:
        session.add(Parcel(code="a", labels=[Label(id=1), Label(id=2)]))
    assert told.take() == [("labels", [1, 2], {"parcel": ["a"]})]
    with sessions.begin() as session:
        parcel = session.get(Parcel, "a")
        parcel.labels.pop()
    assert told.take() == [("labels", [2], {"parcel": ["a"]})]
    with sessions.begin() as session:
        with suppress(ZeroDivisionError), session.begin_nested():
            session.delete(session.get(Label, 1))
            session.flush()
            raise ZeroDivisionError
        parcel = session.get(Parcel, "a")
        parcel.labels.clear()
    assert told.take() == [("labels", [1], {"parcel": ["a"]})]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (update(ORDERS).values(total=1), ["UPDATE of Order"]),
        (delete(ORDERS), ["DELETE of Order"]),
        (insert(ORDERS).values(customer_id=7, total=1), ["INSERT of Order"]),
        (text("update orders set total = 1"), ["UPDATE of Order"]),
        (text('with old as (select 1) DELETE FROM main."orders"'), ["DELETE of Order"]),
        (
            text("insert or replace into orders (id, customer_id, total) values (1, 7, 1)"),
            ["INSERT of Order"],
        ),
        (text("REPLACE INTO orders (id, customer_id, total) values (1, 7, 1)"), ["REPLACE of Order"]),
        (text("UPDATE OR IGNORE orders set total = 1"), ["UPDATE of Order"]),
        (text("select replace(total, 'into', 'orders') from orders"), []),
        (text("select total from orders where 'update' <> 'orders'"), []),
        (text("update others set total = 1"), []),
        (update(OTHERS).values(total=1), []),
    ],
)
def test_statements_of_core(
    sessions: Any, changed: Any, expected: list[str], caplog: pytest.LogCaptureFixture
):
    """A statement on the table itself, or written out, is said too, if it is a class's table."""
    with sessions.begin() as session:
        session.execute(text("create table others (total integer)"))
        session.execute(changed)
    assert [record.getMessage().split(" by ")[0] for record in caplog.records] == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("with l as (insert into log values (1)) update p set a = 1", [("INSERT", "log"), ("UPDATE", "p")]),
        ("insert into log select 1; delete from p", [("INSERT", "log"), ("DELETE", "p")]),
        ("MERGE INTO p USING s ON (1 = 1) WHEN MATCHED THEN UPDATE SET a = 1", [("MERGE", "p")]),
        ("TRUNCATE p", [("TRUNCATE", "p")]),
        ("truncate table only shop.p", [("TRUNCATE", "p")]),
        ("UPDATE /* which; */ p SET a = 1", [("UPDATE", "p")]),
        ("UPDATE -- update q\np SET a = 1", [("UPDATE", "p")]),
        ("DELETE p FROM p JOIN q", [("DELETE", "p")]),
        ("INSERT IGNORE INTO `p` VALUES (1)", [("INSERT", "p")]),
        ('UPDATE "order items" SET a = 1', [("UPDATE", "order items")]),
        ("UPDATE dbo . [Order Items] SET a = 1", [("UPDATE", "order items")]),
        ("UPDATE \"it's\" SET a = 'o''clock; delete from q' -- '", [("UPDATE", "it's")]),
        ("SELECT 1 -- update p set", []),
        ("select 'x' /* update p */ from q for update", []),
    ],
)
def test_changes_of_text(written: str, expected: list[tuple[str, str]]):
    """Each verb of a text outside comments and strings is found, with the name after it."""
    state = SimpleNamespace(statement=text(written))
    assert changes(state) == expected


def test_a_statement_with_several_verbs(sessions: Any, caplog: pytest.LogCaptureFixture):
    """A change behind another one is warned of too."""
    with sessions.begin() as session:
        session.execute(text("with old as (select 'update customers' as x) delete /* of */ from orders"))
        session.execute(text("insert into customers (id, name) select id + 50, 'update orders' from orders"))
    lines = [record.getMessage().split(" by ")[0] for record in caplog.records]
    assert lines == ["DELETE of Order", "INSERT of Customer"]


def test_said_first(sessions: Any, told: Told):
    """A key may be said before the session has begun anything."""
    with sessions() as session:
        notify_after_commit(session, "customers", 7)
        session.commit()
    assert told.take() == [("customers", [7], None)]


def test_a_refused_tag_begins_nothing(sessions: Any, told: Told):
    """What cannot be a tag is refused before a transaction is begun, which nobody would end."""
    with sessions() as session:
        with pytest.raises(ValueError, match="total"):
            notify_after_commit(session, "orders", 1, tags={"total": 1.5})
        assert not session.in_transaction()
        session.commit()
    assert told.take() == []


def test_a_failure_to_notify(sessions: Any, told: Told, caplog: pytest.LogCaptureFixture):
    """The commit stands, and the log says what was not told."""
    told.error = RuntimeError("not running")
    with sessions.begin() as session:
        session.get(Customer, 7).name = "committed"
    with sessions() as session:
        assert session.get(Customer, 7).name == "committed"
    assert "what a commit changed was not told: not running" in caplog.text


async def test_outside_the_lifespan(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Where Entity Sync does not run sessions commit, and the log says so once until it runs."""
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    Base.metadata.create_all(engine)
    sync = EntitySync()

    @sync.entity("customers")
    async def customers(id: int) -> None: ...

    sessions = sessionmaker(engine)
    notify_on_commit(sync, sessions, {Customer: "customers"})

    def add() -> int:
        caplog.clear()
        with sessions.begin() as session:
            session.add(Customer(name="ann"))
        return caplog.text.count("does not run in this process")

    assert [add(), add()] == [1, 0]
    async with sync:
        assert add() == 0
    assert [add(), add()] == [1, 0]
    engine.dispose()


async def test_an_entity_that_is_not_registered(sessions: Any):
    """It is refused at the start; until then there is time to register it."""
    sync = EntitySync()
    notify_on_commit(sync, sessions, {Customer: "customers", Order: Watched("orders")})

    @sync.entity("customer_orders", rows=("orders", "id"))
    async def customer_orders(id: int) -> None: ...

    with pytest.raises(ConfigurationError, match="'customers' would be notified"):
        async with sync:
            pass

    @sync.entity("customers")
    async def customers(id: int) -> None: ...

    async with sync:
        assert sync.is_running


def test_a_transaction_that_is_open_already(sessions: Any, told: Told):
    """What it changes from now on is told, of one session and of all that a factory has made."""
    factory = sessionmaker(sessions.kw["bind"])
    for target in (None, factory):
        with factory() as session:
            order = session.get(Order, 1)
            assert order is not None
            notify_on_commit(told, target or session, {Order: "orders"})
            notify_after_commit(session, "orders", 2)
            order.total += 1
            session.commit()
        assert told.take() == [("orders", [2, 1], None)]


def test_several_that_notify(sessions: Any, told: Told):
    """Each is told of its own classes; a key that is said goes to whose it is, or else to all."""
    other = Told()
    notify_on_commit(other, sessions, {Customer: "names"})
    notify_on_commit(other, sessions, {Line: Watched("lines", id="number")})
    with sessions.begin() as session:
        session.get(Customer, 7).name = "new"
        notify_after_commit(session, "orders", 1)
        notify_after_commit(session, "lines", 2)
        notify_after_commit(session, "others", 3)
    assert told.take() == [("customers", [7], None), ("orders", [1], None), ("others", [3], None)]
    assert other.take() == [("lines", [2], None), ("names", [7], None), ("others", [3], None)]


def test_an_id_that_cannot_be_found_out(sessions: Any, told: Told, caplog: pytest.LogCaptureFixture):
    """The commit stands, what else it changed is told, and the log says what was not."""
    notify_on_commit(told, sessions, {Line: Watched("lines", id=lambda line: 1 // line.number)})
    with sessions.begin() as session:
        session.add_all([Line(order_id=1, number=0), Line(order_id=2, number=1)])
    assert told.take() == [("lines", [1], None), ("orders", [1, 2], None)]
    assert (
        "a change of Line will not be told: its id is not known, since id= of Watched('lines') raised"
        in caplog.text
    )
    assert "ZeroDivisionError" in caplog.text


def test_an_id_that_was_not_loaded(sessions: Any, told: Told):
    """It is asked for before the row is deleted."""
    notify_on_commit(told, sessions, {Order: Watched("customer_orders", id="customer_id")})
    with sessions.begin() as session:
        order = session.scalars(select(Order).where(Order.id == 1).options(load_only(Order.total))).one()
        session.delete(order)
    assert told.take() == [("customer_orders", [7], None), ("orders", [1], {})]


def test_classes_that_cannot_be(sessions: Any):
    """One that is not mapped, one with several primary keys, and sessions that nobody watches."""
    with pytest.raises(ConfigurationError, match="not mapped"):
        notify_on_commit(Told(), sessions, {dict: "customers"})
    with pytest.raises(ConfigurationError, match="makes no sessions"):
        notify_on_commit(Told(), sessions.kw["bind"], CLASSES)
    with pytest.raises(ConfigurationError, match="several primary keys"):
        notify_on_commit(Told(), sessions, {Line: "lines"})
    with Session(sessions.kw["bind"]) as session, pytest.raises(ConfigurationError, match="notify_on_commit"):
        notify_after_commit(session, "customers", 1)


WITHOUT_GREENLET = """
import sys
sys.modules["greenlet"] = None  # whoever imports it now gets an ImportError
from concurrent.futures import Future
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from entity_sync.capture.sqlalchemy import notify_after_commit, notify_on_commit

class Base(DeclarativeBase): ...

class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)

class Told:
    def notify_soon(self, entity, *ids, tags=None):
        print(entity, *ids)
        return Future()

engine = create_engine("sqlite://")
Base.metadata.create_all(engine)
sessions = sessionmaker(engine)
notify_on_commit(Told(), sessions, {Customer: "customers"})
with sessions.begin() as session:
    session.add(Customer(id=7))
    notify_after_commit(session, "customers", 9)
"""


def test_plain_sessions_need_no_greenlet():
    """Only async sessions do: an application without them may lack it."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_GREENLET], capture_output=True, text=True, check=False
    )
    assert (done.stdout.split(), done.stderr) == (["customers", "9", "7"], "")


async def test_scoped_sessions(sessions: Any, tmp_path: Path, told: Told):
    """They notify, and a key may be said of them too, sync and async."""
    scoped = scoped_session(sessions)
    scoped.add(Customer(id=20, name="added"))
    notify_after_commit(scoped, "customers", 21)
    scoped.commit()
    scoped.remove()
    assert told.take() == [("customers", [21, 20], None)]
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db")
    async_scoped: Any = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
    notify_on_commit(told, async_scoped, CLASSES)
    async_scoped.add(Customer(id=22, name="added"))
    notify_after_commit(async_scoped, "customers", 23)
    await async_scoped.commit()
    await async_scoped.remove()
    await engine.dispose()
    assert told.take() == [("customers", [23, 22], None)]


class Visit(Base):
    __tablename__ = "visits"
    id: Mapped[int] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(default=date(2026, 1, 31))
    status: Mapped[Status] = mapped_column(default=Status.OPEN)
    begun: Mapped[datetime | None]
    price: Mapped[Decimal | None]
    kind: Mapped[Any] = mapped_column(Spelled(), default="long")


def test_columns_that_can_be_tags(sessions: Any, told: Told, caplog: pytest.LogCaptureFixture):
    """A date, an Enum, and a type of the application's own, which nobody knows before its values."""
    notify_on_commit(told, sessions, {Visit: Watched("visits", tags=("day", "status", "kind"))})
    with sessions.begin() as session:
        session.add(Visit(id=1))
    assert told.take() == [("visits", [1], {"day": ["2026-01-31"], "status": ["open"], "kind": ["long"]})]
    assert caplog.text == ""


@pytest.mark.parametrize(("name", "kind"), [("begun", "datetime"), ("price", "Decimal")])
def test_columns_that_cannot_be_tags(sessions: Any, told: Told, name: str, kind: str):
    """They are refused at once, and not with each row."""
    with pytest.raises(ConfigurationError, match=rf"Visit\.{name} holds a {kind}, which cannot be a tag"):
        notify_on_commit(told, sessions, {Visit: Watched("visits", tags=("day", name))})


@pytest.mark.parametrize(
    ("watched", "error"),
    [
        (
            Watched("orders", tags=("nope", "total")),
            "Order has no 'nope'; it has id, customer_id, total",
        ),
        (Watched("orders", tags="total"), r"Order: tags is a tuple of names, for example \('total',\)"),  # type: ignore[arg-type]
        (Watched("orders", id="nope"), "Order has no 'nope'"),
    ],
)
def test_attributes_that_are_not_there(sessions: Any, watched: Watched, error: str):
    """They are refused before anything is committed."""
    with pytest.raises(ConfigurationError, match=error):
        notify_on_commit(Told(), sessions, {Order: watched})


# Async sessions, and a real application


class Shop:
    """The customers' names and the orders of each, from one database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.sync = EntitySync()
        self.sessions: Any = async_sessionmaker(engine)
        self.sync.entity("customers")(self.customer)
        self.sync.entity("customer_orders", rows=("orders", "id"))(self.orders)
        notify_on_commit(self.sync, self.sessions, CLASSES)

    async def customer(self, id: int) -> dict[str, Any] | None:
        async with self.sessions() as session:
            customer = await session.get(Customer, id)
            return None if customer is None else {"name": customer.name}

    async def orders(self, id: int) -> AsyncIterator[Any]:
        yield Reads("orders", customer_id=id)
        async with self.sessions() as session:
            for order in await session.scalars(select(Order).where(Order.customer_id == id)):
                yield {"id": order.id, "total": order.total}


@pytest.fixture
async def shop(tmp_path: Path):
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session, session.begin():
        session.add_all([Customer(id=7, name="ann"), Customer(id=9, name="bob"), Order(id=1, customer_id=7)])
    shop = Shop(engine)
    async with shop.sync:
        yield shop
    await engine.dispose()


async def test_clients_see_what_an_async_session_commits(shop: Shop):
    """A change, an order that moves between two lists, and one that is new: each list it concerns."""
    async with connect(shop.sync) as client:
        wanted = [("customers", "7"), ("customer_orders", "7"), ("customer_orders", "9")]
        body = [{"entity": entity, "id": id} for entity, id in wanted]
        await client.send({"action": "subscribe", "body": body})
        for _ in wanted:
            await client.receive_until("snapshot")
        async with shop.sessions.begin() as session:
            (await session.get(Customer, 7)).name = "ann!"
        assert (await client.receive_until("snapshot"))["rows"][0]["data"] == {"name": "ann!"}
        async with shop.sessions.begin() as session:
            (await session.get(Order, 1)).customer_id = 9
            session.add(Order(id=2, customer_id=9))
        lists = {}
        for _ in range(2):
            message = await client.receive_until("snapshot")
            lists[message["id"]] = [row["id"] for row in message["rows"]]
        assert lists == {"7": [], "9": ["1", "2"]}
        async with shop.sessions() as session:
            (await session.get(Customer, 7)).name = "never"
            await session.flush()
            await session.rollback()
        await settled(shop.sync)
        assert client.pending() == []


async def test_a_session_in_a_thread(shop: Shop, tmp_path: Path):
    """A plain session that commits in a thread is told too."""
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    sessions = sessionmaker(engine)
    notify_on_commit(shop.sync, sessions, CLASSES)

    def rename() -> None:
        with sessions.begin() as session:
            customer = session.get(Customer, 9)
            assert customer is not None
            customer.name = "bob!"

    async with connect(shop.sync) as client:
        await client.subscribe("customers", "9")
        await client.receive_until("snapshot")
        await asyncio.to_thread(rename)
        assert (await client.receive_until("snapshot"))["rows"][0]["data"] == {"name": "bob!"}
    engine.dispose()


@pytest.fixture
async def warned(shop: Shop, caplog: pytest.LogCaptureFixture):
    """Notifies, and says whether that was warned of."""

    async def notified() -> bool:
        caplog.clear()
        await shop.sync.notify("customers", 7)
        return "inside an open transaction" in caplog.text

    return notified


@pytest.fixture
async def debug():
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    yield
    loop.set_debug(False)


@pytest.mark.usefixtures("debug")
async def test_a_notify_inside_the_transaction_is_warned_of(shop: Shop, warned: Any):
    """Only while the transaction is open, has changed something and has not been undone."""
    async with shop.sessions.begin() as session:
        assert not await warned()
        customer = await session.get(Customer, 7)
        assert not await warned()
        customer.name = "not flushed yet"
        assert await warned()
        await session.flush()
        assert await warned()
        await session.rollback()
        assert not await warned()
    assert not await warned()


@pytest.mark.usefixtures("debug")
@pytest.mark.parametrize("change", ["add", "delete", "execute", "say"])
async def test_what_is_a_change(shop: Shop, warned: Any, change: str):
    """What the session has not flushed yet, a statement, and a key that was said."""
    async with shop.sessions.begin() as session:
        if change == "add":
            session.add(Customer(id=20, name="new"))
        elif change == "delete":
            await session.delete(await session.get(Customer, 9))
        elif change == "execute":
            await session.execute(update(Customer).values(name="new"))
        else:
            notify_after_commit(session, "customers", 7)
        assert await warned()
    assert not await warned()


@pytest.mark.usefixtures("debug")
async def test_other_tasks_are_not_warned(shop: Shop, warned: Any):
    """A transaction is its own task's, also if both tasks' parent has had one."""
    async with shop.sessions.begin() as session:
        (await session.get(Customer, 7)).name = "earlier"
    changed, told = asyncio.Event(), asyncio.Event()

    async def change() -> None:
        async with shop.sessions.begin() as session:
            (await session.get(Customer, 7)).name = "open"
            await session.flush()
            changed.set()
            await told.wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(change())
        await changed.wait()
        assert not await warned()
        told.set()


async def test_no_warning_without_debug(shop: Shop, warned: Any):
    """In production it is not looked for."""
    async with shop.sessions.begin() as session:
        (await session.get(Customer, 7)).name = "changed"
        assert not await warned()


@pytest.mark.usefixtures("debug")
async def test_the_notifies_of_a_commit_are_not_warned_of(shop: Shop, caplog: pytest.LogCaptureFixture):
    """Although several calls watch the session, of which one notifies before the other."""
    notify_on_commit(shop.sync, shop.sessions, {Customer: "customers"})
    async with shop.sessions.begin() as session:
        (await session.get(Customer, 7)).name = "changed"
    assert "inside an open transaction" not in caplog.text
