"""The guides about lists, rights and tests: their code is executed, and does what they say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from entity_sync import EntitySync, Reads, Row, UnknownEntity
from entity_sync.testing import MemoryClient, connect, settled
from tests.test_documents import block, source

pytestmark = pytest.mark.source


async def subscribe(client: MemoryClient, entity: str, id: str) -> None:
    await client.send({"action": "subscribe", "body": {"entity": entity, "id": id}})


async def shown(sync: EntitySync, client: MemoryClient) -> list[Any]:
    """What arrived once all is quiet, without the acks."""
    await settled(sync)
    return [message for message in client.pending() if message["event"] != "ack"]


def lists() -> dict[str, Any]:
    names = block("docs/lists.md", "lists")
    exec(source("docs/lists.md", "changes"), names)
    return names


async def test_lists_page():
    """A list follows what it found and what it looked at, and shows of it what its annotation names."""
    page = lists()
    sync = page["sync"]
    async with sync, connect(sync) as ann, connect(sync) as bob:
        await subscribe(ann, "customer_orders", "ann")
        [snapshot] = await shown(sync, ann)
        assert snapshot["rows"] == json.loads(source("docs/lists.md", "rows"))

        await subscribe(bob, "customer_orders", "bob")
        await shown(sync, bob)
        await page["move"](2, "ann")
        [moved_in] = await shown(sync, ann)
        assert [row["id"] for row in moved_in["rows"]] == ["1", "2", "9"]
        [moved_out] = await shown(sync, bob)
        assert (moved_out["rows"], moved_out["gone"]) == ([], False)

        await page["rename"](9, "Dot")
        [renamed] = await shown(sync, ann)
        assert renamed["rows"][2]["data"] == {"name": "Dot"}
        assert await shown(sync, bob) == []


async def loaded(what: list[object] | None, **options: Any) -> Any:
    """The snapshot of a loader that yields this."""
    sync = EntitySync()

    @sync.entity("lists", **options)
    async def lists(id: str) -> AsyncIterator[object]:
        for each in what or ():
            yield each

    async with sync, connect(sync) as client:
        await subscribe(client, "lists", "x")
        return await client.receive_until("snapshot")


@pytest.mark.parametrize(
    ("what", "is_gone"),
    [([], False), ([Reads("lists")], False), ([None], True), ([Reads("lists"), None], True)],
)
async def test_lists_gone_or_empty(what: list[object], is_gone: bool):
    """No row is an empty list, and None says that there is no such key."""
    snapshot = await loaded(what)
    assert (snapshot["rows"], snapshot["gone"]) == ([], is_gone)


@pytest.mark.parametrize(("track", "news"), [(True, 1), (False, 0)])
async def test_lists_track(track: bool, news: int):
    """A change of a row that rides along loads the list again, unless it is not tracked."""
    sync, names = EntitySync(), {"9": "Cay"}

    @sync.entity("reports")
    async def report(id: str) -> AsyncIterator[object]:
        yield {"title": "Bread"}
        yield Row("users", "9", {"name": names["9"]}, track=track)

    @sync.entity("users")
    async def user(id: str) -> dict[str, str]:
        return {"name": names[id]}

    async with sync, connect(sync) as client:
        await subscribe(client, "reports", "x")
        [snapshot] = await shown(sync, client)
        assert snapshot["rows"][0] == {"data": {"title": "Bread"}}
        names["9"] = "Dot"
        await user.notify("9")
        assert len(await shown(sync, client)) == news


@pytest.mark.parametrize(("value", "news"), [(["ann", "bob"], 1), (["bob"], 0), ([7], 0)])
async def test_lists_counts_need_the_old_value(value: list[object], news: int):
    """A count does not hold what it counted, so only its tag tells that a row has left."""
    sync, owners = EntitySync(), ["ann"]

    @sync.entity("counts")
    async def count(customer: str) -> AsyncIterator[object]:
        yield Reads("orders", customer=customer)
        yield owners.count(customer)

    @sync.entity("orders")
    async def order(id: int) -> int:
        return id

    async with sync, connect(sync) as client:
        await subscribe(client, "counts", "ann")
        await shown(sync, client)
        owners[0] = "bob"
        await order.notify(1, tags={"customer": value})
        assert len(await shown(sync, client)) == news
        await order.notify(1, tags={"costumer": "bob"})
        assert len(await shown(sync, client)) == 1 - news


async def test_lists_names_that_may_be_notified():
    """A row may ride along under any name; what is notified is registered, or named in a rows=."""
    sync = EntitySync()

    @sync.entity("reports", rows=("chapters", "id"))
    async def report(id: str) -> list[object]:
        return [{"id": 1}, Row("users", 9, {"name": "Cay"})]

    async with sync, connect(sync) as client:
        await subscribe(client, "reports", "x")
        [snapshot] = await shown(sync, client)
        assert [row["entity"] for row in snapshot["rows"]] == ["chapters", "users"]
        await sync.notify("chapters", 1)
        with pytest.raises(UnknownEntity):
            await sync.notify("users", 9)
