"""What a type checker knows of the public interface: checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal, assert_type
from uuid import UUID

from entity_sync import (
    AccessDenied,
    AsyncPublisher,
    BadId,
    BrokerUnavailable,
    ClientMessage,
    ConfigurationError,
    ConnectionInfo,
    Entity,
    EntityKey,
    EntitySync,
    EntitySyncError,
    NotRunning,
    Publisher,
    Receipt,
    Settings,
    UnknownEntity,
)
from entity_sync.brokers.base import Broker, Delivery, Lost, Message, Restored
from entity_sync.brokers.memory import MemoryBroker
from entity_sync.brokers.registry import broker_from
from entity_sync.capture.sqlalchemy import Classes, Watched, notified, notified_soon, notify_on_commit
from entity_sync.capture.sqlite import SQLiteCapture
from entity_sync.clock import Clock, SystemClock
from entity_sync.hub.captures import Capture
from entity_sync.testing import BrokerContract, FakeClock, MemoryClient, connect, settled


class User:
    """A principal, as an application has one."""

    key: str = "ann"
    tenant: str = "red"


@asynccontextmanager
async def resources(sync: EntitySync) -> AsyncGenerator[None, None]:
    yield


async def declaring() -> None:
    sync = EntitySync(
        "memory://",
        settings=Settings(max_loads=5),
        origins=["https://app.example"],
        captures=[SQLiteCapture("shop.sqlite3", entities={"items"})],
        lifespan=resources,
        clock=SystemClock(),
    )

    @sync.entity("items", timeout=5.0)
    async def items(id: int) -> dict[str, int] | None:
        return {"id": id}

    @sync.entity("reports", per=lambda user: user.tenant)
    def reports(id: UUID, tenant: str) -> bytes:
        return b"{}"

    @sync.entity("shelves", rows=("items", "id"))
    async def shelves(id: str) -> AsyncIterator[dict[str, int]]:
        yield {}

    of_ints: Entity[int] = items
    assert_type(reports, Entity[UUID, bytes])
    assert_type(items.name, str)
    assert_type(await items(100), dict[str, int] | None)
    assert_type(await of_ints(100), Any)
    assert_type(reports(id=UUID(int=1), tenant="red"), bytes)
    assert_type(shelves("s"), AsyncIterator[dict[str, int]])

    @sync.authenticate
    async def who(secret: str | None, connection: ConnectionInfo) -> User:
        if secret is None or connection.wire == "classic":
            raise AccessDenied
        return User()

    assert_type(await who("x", ConnectionInfo("v2")), Any)

    @sync.on_message
    async def other(message: ClientMessage) -> dict[str, Any]:
        assert_type(message.data, bytes)
        assert_type(message.connection, ConnectionInfo)
        return {"answer": message.json(), "to": message.principal}

    assert_type(await other(ClientMessage(b"1", User(), ConnectionInfo("v2"))), dict[str, Any])


async def running(sync: EntitySync, items: Entity) -> None:
    async with sync as entered:
        assert_type(entered, EntitySync)
    async with sync.lifespan(object()) as nothing:
        assert_type(nothing, None)
    lifespan: Callable[[Any], AbstractAsyncContextManager[None]] = sync.lifespan
    application: Callable[[Any, Any, Any], Awaitable[None]] = sync
    assert_type(await sync.notify("items", 1, "2", UUID(int=3)), Receipt)
    assert_type(await sync.notify(items, 1), Receipt)
    assert_type(await items.notify(1), Receipt)
    assert_type(sync.notify_soon("items", 1), Future[Receipt])
    assert_type(items.notify_soon(1).result(), Receipt)
    del lifespan, application


def capturing(sync: EntitySync, items: Entity[int], sessions: object, ways: list[Watched]) -> None:
    several: list[Entity[int] | Watched] = [items, Watched(items, id="item"), *ways]
    notify_on_commit(sync, sessions, {int: "items", str: items, bytes: Watched("items", tags=("owner",))})
    notify_on_commit(sync, sessions, {int: several, str: ways, bytes: ("items", items), bool: []})
    classes: Classes = {int: ways, str: items}
    notify_on_commit(sync, sessions, classes)
    assert_type(Watched(items).entity, str)


async def committed(session: object) -> None:
    assert_type(await notified(session), Receipt | None)
    assert_type(notified_soon(session), Future[Receipt | None])


def receipts(receipt: Receipt) -> None:
    assert_type(receipt.status, Literal["accepted", "deferred"])
    assert_type(receipt.token, str)


async def publishing(broker: Broker, items: Entity[int]) -> None:
    with Publisher("nsq://127.0.0.1:4150", patience=1.0) as publisher:
        assert_type(publisher, Publisher)
        assert_type(publisher.notify("items", 1), Receipt)
        assert_type(publisher.notify(items, 1), Receipt)
    async with AsyncPublisher(broker) as asynchronous:
        assert_type(asynchronous, AsyncPublisher)
        assert_type(await asynchronous.notify("items", 1), Receipt)


def keys(key: EntityKey) -> None:
    entity, id = key
    assert_type(entity, str)
    assert_type(id, str)


def errors(error: UnknownEntity | BadId | BrokerUnavailable | NotRunning | AccessDenied) -> EntitySyncError:
    if isinstance(error, UnknownEntity):
        mistake: ConfigurationError = error
        assert_type(error.entity, str)
        return mistake
    if isinstance(error, BadId):
        assert_type(error.entity, str)
    return error


async def extending(clock: Clock) -> None:
    broker: Broker = MemoryBroker("memory://name")
    assert_type(broker_from("memory://"), Broker)
    async for delivery in broker.receive():
        assert_type(delivery, Message | Lost | Restored)
        _: Delivery = delivery
    capture: Capture = SQLiteCapture("shop.sqlite3")
    async for entities in capture.watch(clock):
        assert_type(entities, Collection[str] | None)


async def testing(sync: EntitySync) -> None:
    clock: Clock = FakeClock()
    assert_type(clock.now(), float)
    async with connect(sync, secret="x", wire="v2") as client:
        assert_type(client, MemoryClient)
        assert_type(await client.receive_until("snapshot"), dict[str, Any])
        assert_type(client.pending(), list[Any])
        assert_type(client.close_code, int | None)
    assert_type(await settled(sync), None)


class TestMine(BrokerContract):
    """How an adapter of another package is tested."""

    async def make(self) -> Broker:
        return MemoryBroker("memory://mine")


def mistakes(sync: EntitySync) -> None:
    EntitySync(broker=5)  # type: ignore[arg-type]
    Settings(5)  # type: ignore[call-arg]
    Settings(max_loads="many")  # type: ignore[arg-type]
    Settings().max_loads = 5  # type: ignore[misc]
    sync.entity("items", public="yes")  # type: ignore[call-overload]
    Publisher()  # type: ignore[call-arg]
    sync.notify("items", 1).status  # type: ignore[attr-defined] # noqa: B018 - it is awaited first
    EntitySync(lifespan=lambda: resources(sync))  # type: ignore[arg-type,misc]


async def typed_by_the_principal() -> None:
    sync = EntitySync[User]("memory://")

    @sync.authenticate
    async def who(secret: str | None, connection: ConnectionInfo) -> User:
        return User()

    @sync.entity("reports", per=lambda user: user.tenant)
    async def reports(id: UUID, tenant: str) -> bytes:
        return b"{}"

    @sync.entity("orders", authorize=lambda user, key: user.key == key.id)
    async def orders(id: str) -> bytes:
        return b"{}"

    @sync.entity("prices", batch=500)
    async def prices(ids: list[int]) -> dict[int, float]:
        return {}

    assert_type(sync, EntitySync[User])
    of_texts: Entity[str] = orders
    of_ints: Entity[int] = prices
    wrong: Entity[str] = prices  # type: ignore[assignment]
    assert_type(await of_texts("1"), Any)
    assert_type(await prices([7]), dict[int, float])
    del of_ints, wrong
    await prices.notify(1, 2, tags={"shop": [7, 9]}, revision=3)
    await prices.notify("1")  # type: ignore[arg-type]
    await reports.notify(5)  # type: ignore[arg-type]
    sync.entity("wrong", per=lambda user: user.tenants)  # type: ignore[attr-defined]

    @sync.authenticate  # type: ignore[arg-type]
    async def nobody(secret: str | None, connection: ConnectionInfo) -> int:
        return 5
