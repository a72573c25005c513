"""Rows that ride along and live queries: what a change of them leads to, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from entity_sync import AccessDenied, BadId, ConnectionInfo, EntitySync, Reads, Row, Settings, UnknownEntity
from entity_sync.model import Change
from entity_sync.testing import MemoryClient, settled
from tests.hub.virtual import in_virtual_time

LONG = "x" * 300  # so that a difference is worth it
ALANS = 10_000  # the one report that is by another author


class Bakery:
    """Reports with their authors, and the orders of each customer, over a database of dicts."""

    def __init__(self, **settings: Any) -> None:
        self.names = {9: "Ada", 8: "Alan"}
        self.orders: dict[int, dict[str, Any]] = {}
        self.loads: list[str] = []
        self.pause = asyncio.Event()
        self.pause.set()
        self.sync = EntitySync(settings=Settings(**settings))
        self.sync.entity("users")(self.user)
        self.sync.entity("reports")(self.report)
        self.sync.entity("customer_orders", rows=("orders", "id"))(self.customer_orders)

    async def user(self, id: int) -> dict[str, str] | None:
        return {"name": self.names[id]} if id in self.names else None

    async def report(self, id: int) -> AsyncIterator[object]:
        self.loads.append(f"reports/{id}")
        yield {"title": f"report {id}", "text": LONG}
        author = 8 if id == ALANS else 9
        name = self.names[author]
        await self.pause.wait()
        yield Row("users", author, {"name": name})

    async def customer_orders(self, id: int) -> AsyncIterator[object]:
        self.loads.append(f"customer_orders/{id}")
        yield Reads("orders", customer=id)
        for order in self.orders.values():
            if order["customer"] == id:
                yield order

    def order(self, id: int, customer: int) -> None:
        self.orders[id] = {"id": id, "customer": customer, "text": LONG}


async def watching(sync: EntitySync, entity: str, *ids: str) -> MemoryClient:
    client = MemoryClient.of(sync)
    await client.subscribe(entity, *ids)
    return client


@in_virtual_time
async def test_a_row_that_rides_along():
    """The author's change loads the report again, and only what differs is sent."""
    bakery = Bakery()
    async with bakery.sync as sync:
        client = await watching(sync, "reports", "1")
        await settled(sync)
        client.pending()
        bakery.names[9] = "Grace"
        await sync.notify("users", 9)
        await settled(sync)
        [delta] = client.pending()
        assert delta["event"] == "delta"
        assert delta["put"] == [{"data": {"name": "Grace"}, "entity": "users", "id": "9"}]
        await sync.notify("users", 8)
        await settled(sync)
        assert len(bakery.loads) == 2


@in_virtual_time
async def test_a_row_that_changes_before_it_is_known():
    """The author changes while the first load runs, which has read the old name: another load follows."""
    bakery = Bakery()
    async with bakery.sync as sync:
        bakery.pause.clear()
        client = await watching(sync, "reports", "1")
        await asyncio.sleep(0.1)
        bakery.names[9] = "Grace"
        await sync.notify("users", 9)
        bakery.pause.set()
        await settled(sync)
        assert len(bakery.loads) == 2
        assert any(
            {"data": {"name": "Grace"}, "entity": "users", "id": "9"}
            in [*message.get("rows", []), *message.get("put", [])]
            for message in client.pending()
        )


@in_virtual_time
async def test_inserts_moves_and_deletes_reach_whom_they_concern():
    """Old and new values as tags: both customers' lists load, and no other."""
    bakery = Bakery()
    async with bakery.sync as sync:
        client = await watching(sync, "customer_orders", "7", "8", "9")
        await settled(sync)
        client.pending()
        bakery.loads.clear()

        bakery.order(55, customer=7)
        await sync.notify("orders", 55, tags={"customer": 7})
        await settled(sync)
        assert bakery.loads == ["customer_orders/7"]

        bakery.order(55, customer=8)
        await sync.notify("orders", 55, tags={"customer": [7, 8]})
        await settled(sync)
        assert sorted(bakery.loads[1:]) == ["customer_orders/7", "customer_orders/8"]

        del bakery.orders[55]
        await sync.notify("orders", 55, tags={"customer": 8})
        await settled(sync)
        assert bakery.loads[3:] == ["customer_orders/8"]

        await sync.notify("orders", 56)
        await settled(sync)
        assert sorted(bakery.loads[4:]) == [f"customer_orders/{id}" for id in (7, 8, 9)]


@in_virtual_time
async def test_an_insert_is_a_small_delta():
    """One row inserted into 200: less than 3 % of the list whole. One member of one: less than 1 %."""
    bakery = Bakery()
    for id in range(200):
        bakery.order(id, customer=7)
    async with bakery.sync as sync:
        client = await watching(sync, "customer_orders", "7")
        await settled(sync)
        size = len(str(client.pending()))
        bakery.order(200, customer=7)
        await sync.notify("orders", 200, tags={"customer": 7})
        await settled(sync)
        [insert] = client.pending()
        assert insert["event"] == "delta"
        assert len(str(insert)) < 0.03 * size
        bakery.orders[100]["status"] = "ready"
        await sync.notify("orders", 100, tags={"customer": 7})
        await settled(sync)
        [patch] = client.pending()
        assert patch["patch"] == [{"entity": "orders", "id": "100", "set": {"status": "ready"}}]
        assert len(str(patch)) < 0.01 * size


@in_virtual_time
async def test_one_row_in_many_views_is_paced():
    """An author in 2,000 reports: they load at the resync rate, not at once; all are true in the end."""
    bakery = Bakery(max_subscriptions=2_000, resync_rate=1_000.0)
    async with bakery.sync as sync:
        client = await watching(sync, "reports", *map(str, range(2_000)))
        await settled(sync)
        client.pending()
        bakery.loads.clear()
        bakery.names[9] = "Grace"
        await sync.notify("users", 9)
        await asyncio.sleep(0.5)
        assert 400 <= len(bakery.loads) <= 600
        await asyncio.sleep(2.0)
        assert len(bakery.loads) == 2_000
        assert len(client.pending()) == 2_000


@in_virtual_time
async def test_one_row_in_many_views_delays_no_other():
    """While 2,000 reports wait because of their author, the one of another is loaded within two batches."""
    bakery = Bakery(max_subscriptions=2_001, resync_rate=1_000.0)
    async with bakery.sync as sync:
        await watching(sync, "reports", *map(str, range(2_000)), str(ALANS))
        await settled(sync)
        bakery.loads.clear()
        for _ in range(3):
            await sync.notify("users", 9)
        await sync.notify("users", 8)
        await asyncio.sleep(0.05)
        assert f"reports/{ALANS}" in bakery.loads
        assert len(bakery.loads) <= 60
        await asyncio.sleep(3.0)
        assert len(bakery.loads) == 2_001 + 20  # a batch had begun before it was said again
        assert len(set(bakery.loads)) == 2_001


@in_virtual_time
async def test_a_slow_session_gets_a_chain_or_the_whole():
    """What a reader missed comes as the deltas in a row, or as a snapshot where those are more."""
    bakery = Bakery()
    bakery.order(1, customer=7)
    bakery.order(2, customer=7)
    async with bakery.sync as sync:
        quick, slow = (
            await watching(sync, "customer_orders", "7"),
            await watching(sync, "customer_orders", "7"),
        )
        await settled(sync)
        slow.pending()
        slow.stall()
        for status in ("baked", "ready"):
            bakery.orders[1]["status"] = status
            await sync.notify("orders", 1)
            await settled(sync)
            quick.pending()
        slow.resume()
        await settled(sync)
        assert [message["event"] for message in slow.pending()] == ["delta", "delta"]
        slow.stall()
        for number in range(12):
            bakery.orders[1]["status"] = str(number)
            await sync.notify("orders", 1)
            await settled(sync)
            quick.pending()
        slow.resume()
        await settled(sync)
        assert [message["event"] for message in slow.pending()] == ["snapshot"]


@in_virtual_time
async def test_rows_of_an_entity_that_nobody_registered():
    """An entity named in rows= can be notified, by its ids' own type; one named nowhere cannot."""
    bakery = Bakery()
    async with bakery.sync as sync:
        client = await watching(sync, "customer_orders", "7")
        await settled(sync)
        client.pending()
        bakery.order(3, customer=7)
        assert (await sync.notify("orders", "3")).status == "accepted"
        await settled(sync)
        assert client.pending()[0]["event"] == "delta"
        with pytest.raises(UnknownEntity, match="orders"):
            await sync.notify("nobody", 1)
        with pytest.raises(BadId, match="a str, an int or a UUID"):
            await sync.notify("orders", 1.5)
        with pytest.raises(ValueError, match="10000 tags"):
            await sync.notify("orders", 3, tags={str(number): 1 for number in range(10_000)})
        assert client.pending() == []


@in_virtual_time
async def test_classic_gets_the_rows_one_by_one():
    """On the Go original's wire each row is a frame of its own, in order."""
    bakery = Bakery()
    bakery.order(1, customer=7)
    bakery.order(2, customer=7)
    async with bakery.sync as sync:
        client = MemoryClient.of(sync, ConnectionInfo("classic"))
        await client.subscribe("customer_orders", "7")
        await sync.notify("customer_orders", 7)
        await settled(sync)
        assert [row["id"] for row in client.pending()] == [1, 2]


async def test_view_that_was_too_large_is_loaded_when_it_shrinks():
    """What cannot be shown depends on what was read for it, as a state does."""
    count = 100
    sync = EntitySync(settings=Settings(max_view_bytes=2_000))

    @sync.entity("orders")
    async def orders(id: int) -> dict[str, Any]:
        return {"id": id}

    @sync.entity("lists", rows=("orders", "id"))
    async def lists(customer: int) -> AsyncIterator[Any]:
        yield Reads("orders", customer=customer)
        for id in range(count):
            yield {"id": id, "text": "x" * 20}

    async with sync:
        client = await watching(sync, "lists", "7")
        await settled(sync)
        assert [message["event"] for message in client.pending()][1:] == ["ack", "error"]
        count = 3
        await orders.notify(50, tags={"customer": 7})
        await settled(sync)
        snapshot, fresh = client.pending()
        assert (len(snapshot["rows"]), fresh["event"]) == (3, "fresh")


async def test_what_a_bad_result_was_read_from_is_watched():
    """The change that repairs what cannot be sent is told by what was read, not by the view's own key."""
    users, author = {5: {"name": "Ada"}, 9: {"name": float("nan")}}, 5
    sync = EntitySync()

    @sync.entity("users")
    async def user(id: int) -> Any:
        return users[id]

    @sync.entity("reports")
    async def report(_id: int) -> AsyncIterator[object]:
        yield {"title": "a report", "author": author}
        yield Row("users", author, users[author])

    async with sync:
        client = await watching(sync, "reports", "1")
        await settled(sync)
        author = 9
        await report.notify(1)
        await settled(sync)
        assert client.pending()[-1]["event"] == "stale"
        users[9] = {"name": "Grace"}
        await user.notify(9)
        await settled(sync)
        snapshot, fresh = client.pending()
        assert [row["data"] for row in snapshot["rows"]] == [
            {"author": 9, "title": "a report"},
            {"name": "Grace"},
        ]
        assert fresh["event"] == "fresh"


async def test_what_a_refusal_was_read_from_is_watched():
    """A loader that looks whether it may show a thing, and raises: what it yielded before decides."""
    is_member = False
    sync = EntitySync()

    @sync.entity("members")
    async def members(_id: str) -> Any:
        return {}

    @sync.entity("documents")
    async def documents(id: str) -> AsyncIterator[object]:
        yield Reads("members", document=id)
        if not is_member:
            raise AccessDenied
        yield {"title": "a document"}

    async with sync:
        client = await watching(sync, "documents", "1")
        await settled(sync)
        assert client.pending()[-1]["gone"]
        is_member = True
        await members.notify("7", tags={"document": "1"})
        await settled(sync)
        assert client.pending()[-1]["rows"] == [{"data": {"title": "a document"}}]


async def test_what_nobody_can_notify_is_warned_of(caplog: pytest.LogCaptureFixture):
    """Once for each name: rows and live queries of an entity that nobody registered, unless untracked."""
    sync = EntitySync()

    @sync.entity("reports", rows=("lines", "id"))
    async def report(id: str) -> AsyncIterator[object]:
        yield Row("lines", 1, {})
        yield Row("reports", "7", {})
        yield Row("untracked", 1, {}, track=False)
        yield Row("nobody", 1, None)
        yield Reads("ordrs", customer=id)

    async with sync:
        await watching(sync, "reports", "1", "2")
        await settled(sync)
    assert [record.getMessage().partition(", so")[0] for record in caplog.records] == [
        "load of reports/'1' depends on entity 'nobody', which is not registered",
        "load of reports/'1' depends on entity 'ordrs', which is not registered",
    ]


@in_virtual_time
async def test_what_changed_while_a_bad_result_was_read_is_not_missed():
    """The load that fails found only at its end what it depends on, and that was repaired meanwhile."""
    users: dict[int, dict[str, object]] = {9: {"name": float("nan")}}
    pause = asyncio.Event()
    sync = EntitySync()

    @sync.entity("users")
    async def user(id: int) -> Any:
        return users[id]

    @sync.entity("reports")
    async def report(_id: int) -> AsyncIterator[object]:
        found = users[9]
        await pause.wait()
        yield {"title": "a report"}
        yield Row("users", 9, found)

    async with sync:
        client = await watching(sync, "reports", "1")
        await asyncio.sleep(0.1)
        users[9] = {"name": "Grace"}
        await user.notify(9)
        await asyncio.sleep(0.1)
        pause.set()
        await settled(sync)
        shown = [frame for frame in client.pending() if frame["event"] == "snapshot"]
        assert shown[-1]["rows"][1]["data"] == {"name": "Grace"}


@in_virtual_time
async def test_a_live_query_of_its_own_entity():
    """A change of a key that its own loader reads too is one reason for one load."""
    sync, loads = EntitySync(), list[int]()

    @sync.entity("nodes")
    async def node(id: int) -> AsyncIterator[object]:
        loads.append(id)
        yield Reads("nodes", parent=[0])
        await asyncio.sleep(0.01)
        yield {"id": id, "n": len(loads)}

    async with sync:
        client = await watching(sync, "nodes", "1", "2")
        await asyncio.sleep(5)
        loads.clear()
        await sync.notify("nodes", 1, tags={"parent": 0})
        await asyncio.sleep(5)
        assert sorted(loads) == [1, 2]
        client.leave()


async def test_a_notify_of_many_keys():
    """Others get their turns while views are found that each of them concerns."""
    sync, seen = EntitySync(settings=Settings(max_subscriptions=3_000)), list[int]()

    @sync.entity("lists")
    async def rows(id: int) -> AsyncIterator[object]:
        yield Reads("orders")
        yield {"id": id}

    @sync.entity("orders")
    async def order(id: int) -> int:
        return id

    async with sync:
        client = await watching(sync, "lists", *map(str, range(2_500)))
        await settled(sync)
        changed = sync.node.hub.changed

        def counted(change: Change) -> int:
            seen.append(int(change.key.id))
            return changed(change)

        sync.node.hub.changed = counted  # type: ignore[method-assign]
        notifying = asyncio.ensure_future(sync.notify("orders", *range(100)))
        await asyncio.sleep(0)
        assert seen == [0, 1, 2, 3]
        assert (await notifying).status == "accepted"
        assert seen == list(range(100))
        client.leave()


@in_virtual_time
async def test_what_changed_together():
    """Several entities under one token, each with its tags: each view that one of them concerns is loaded
    and told the token."""
    bakery = Bakery()
    async with bakery.sync as sync:
        client, lists = MemoryClient.of(sync), MemoryClient.of(sync)
        bakery.order(1, 7)
        await client.subscribe("users", 9, causes=True)
        await lists.subscribe("customer_orders", 7, 8, causes=True)
        await settled(sync)
        for one in (client, lists):
            one.pending()
        bakery.loads.clear()
        bakery.names[9] = "Grace"
        said = [("users", [9], None), ("orders", [2], {"customer": 7})]
        bakery.order(2, 7)
        receipt = await asyncio.wrap_future(sync.notify_together(said, "token"))
        assert (receipt.status, receipt.token) == ("accepted", "token")
        await settled(sync)
        assert bakery.loads == ["customer_orders/7"]
        for one, events in ((client, ["snapshot", "current"]), (lists, ["delta", "current"])):
            messages = one.pending()
            assert [message["event"] for message in messages] == events
            assert messages[-1]["causes"] == ["token"]
        for one in (client, lists):
            one.leave()
