"""Whatever is handed in: an answer to whom it concerns, one line in the log, and no more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from entity_sync import EntityKey, EntitySync, Reads, Row
from entity_sync.errors import BadId
from entity_sync.testing import MemoryClient, connect, settled
from tests.simulation.loop import run


class Base(DeclarativeBase): ...


class Account(Base):
    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    password_hash: Mapped[str]


async def raises(id: str) -> Any:
    raise LookupError("no such table")


async def hangs(id: str) -> Any:
    await asyncio.Event().wait()


async def duplicates(id: str) -> Any:
    yield Row("users", 9, {"name": "Ann"})
    yield Row("users", "9", {"name": "Bob"})


async def raw(id: str) -> Any:
    return Account(id=1, password_hash="hush-hush")


def returns(value: Any) -> Callable[[str], Any]:
    async def load(id: str) -> Any:
        return value

    return load


async def reads_too_much(id: str) -> Any:
    yield Reads("orders", **{f"tag{number}": number for number in range(10_000)})


LOADERS = {
    "raises": (raises, "stale", "no such table"),
    "hangs": (hangs, "stale", "no result within 1 s"),
    "wrong shape": (returns({1, 2}), "stale", "a row is one value, not a set"),
    "two rows of one key": (duplicates, "stale", "two rows have the key users/'9'"),
    "NaN": (returns({"price": float("nan")}), "stale", "field 'price' is nan"),
    "2^60": (returns({"count": 2**60}), "stale", "field 'count' is an integer beyond"),
    "10 MiB": (returns({"text": "x" * 10 * 2**20}), "error", "bytes of rows, more than 524288"),
    "an ORM's object": (raw, "stale", "is an Account of an ORM"),
    "10,000 tags": (reads_too_much, "stale", "Reads of 'orders': 10000 tags"),
}


async def subscribe(client: MemoryClient, *keys: tuple[str, str]) -> None:
    await client.send({"action": "subscribe", "body": [{"entity": entity, "id": id} for entity, id in keys]})


def told(client: MemoryClient) -> list[tuple[str, str]]:
    """The events about keys, with their entity."""
    return [(one["event"], one["entity"]) for one in client.pending() if "entity" in one]


@pytest.mark.parametrize("name", LOADERS)
def test_a_loader_that(name: str, caplog: pytest.LogCaptureFixture):
    """Its subscriber is told once, one line of the log names the key and the reason, others are served."""
    function, event, reason = LOADERS[name]

    async def main() -> None:
        sync = EntitySync()
        sync.entity("bad", timeout=1.0)(function)
        good = sync.entity("good")(returns({"n": 1}))
        async with sync, connect(sync) as client, connect(sync) as other:
            await subscribe(client, ("bad", "1"), ("good", "1"))
            await subscribe(other, ("good", "1"))
            await asyncio.sleep(30)
            assert sorted(told(client)) == sorted([(event, "bad"), ("snapshot", "good")])
            assert told(other) == [("snapshot", "good")]
            await good.notify("1")
            await settled(sync)
            assert [one for one in client.received if "hush" in one or "xxx" in one] == []

    _, failures = run(main())
    assert failures == []
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 1
    assert lines[0].startswith("load of bad/'1' failed: ")
    assert reason in lines[0]
    assert "hush" not in caplog.text


def test_an_authorize_that_raises(caplog: pytest.LogCaptureFixture):
    """It denies that key to that client, in one line of the log; nothing is loaded for it."""
    loads: list[str] = []

    async def load(id: str) -> int:
        loads.append(id)
        return 1

    def authorize(who: str, key: EntityKey) -> bool:
        if key.id == "2":
            raise LookupError("no such table")
        return True

    async def main() -> None:
        sync = EntitySync()
        sync.entity("orders", authorize=authorize)(load)
        async with sync, connect(sync) as client:
            await subscribe(client, ("orders", "1"), ("orders", "2"))
            await settled(sync)
            assert told(client) == [("denied", "orders"), ("snapshot", "orders")]

    run(main())
    assert loads == ["1"]
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 1
    assert lines[0].startswith("authorize of orders/'2' failed, which denies it: LookupError at ")


@pytest.mark.parametrize("id", ["0100", " 100", "100 ", "१००", "+1", "-0", "1_0", "1e2", "", "x" * 300])
def test_an_id_that_is_none(id: str):
    """It is refused by itself, echoed as sent, without a load; the other ids of the list are served."""
    loads: list[int] = []

    async def order(id: int) -> int:
        loads.append(id)
        return id

    async def main() -> None:
        sync = EntitySync()
        sync.entity("orders")(order)
        async with sync, connect(sync) as client:
            await subscribe(client, ("orders", id), ("orders", "100"))
            ack = await client.receive_until("ack")
            assert [(one["code"], one["id"]) for one in ack["failed"]] == [("bad_id", id)]
            assert (await client.receive_until("snapshot"))["id"] == "100"
            with pytest.raises(BadId):
                await sync.notify("orders", id)

    run(main())
    assert loads == [100]


async def test_notify_with_ten_thousand_tags():
    """It raises, naming how many are carried, and nothing is notified."""
    sync = EntitySync()
    loads: list[str] = []

    @sync.entity("orders")
    async def order(id: str) -> int:
        loads.append(id)
        return 1

    async with sync, connect(sync) as client:
        await subscribe(client, ("orders", "1"))
        await settled(sync)
        for tags, text in (
            ({f"tag{number}": 1 for number in range(10_000)}, "10000 tags, and at most 16"),
            ({"customer": list(range(10_000))}, "10000 values, and at most 256"),
        ):
            with pytest.raises(ValueError, match=text):
                await order.notify("1", tags=tags)
        await settled(sync)
    assert loads == ["1"]
