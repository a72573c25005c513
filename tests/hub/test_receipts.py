"""Reading what one wrote: a client is told which notify a state covers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

from entity_sync import AccessDenied, ConnectionInfo, EntitySync, Reads, Row
from entity_sync.testing import MemoryClient, connect, settled
from tests.hub.virtual import in_virtual_time
from tests.simulation.broker import Bus, FaultyBroker


class Shop:
    """Items whose loads take a moment."""

    def __init__(self, **options: Any) -> None:
        self.n = 0
        self.fails = 0
        self.sync = EntitySync(**options)
        self.sync.entity("items")(self.item)
        self.sync.entity("reports")(self.report)

    async def item(self, id: str) -> dict[str, Any]:
        n = self.n
        await asyncio.sleep(0.01)
        if self.fails:
            self.fails -= 1
            raise OSError("no database")
        return {"n": n, "text": "x" * 300}

    async def report(self, id: str) -> list[Any]:
        return [{"report": id}, Row("items", "1", await self.item("1"))]


async def subscribe(client: MemoryClient, entity: str = "items", *, causes: bool = True) -> None:
    await client.subscribe(entity, "1", causes=causes)
    await client.receive_until("snapshot")


def told(client: MemoryClient) -> list[Any]:
    """The events that are pending, `current` with its causes."""
    found = []
    for message in client.pending():
        found += [message["event"]] if message["event"] != "beat" else []
        found += message.get("causes", ())
    return found


@in_virtual_time
async def test_after_the_state_that_covers_it():
    """Who asked for causes gets a `current` with the token after the state; who did not gets none."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client, connect(shop.sync) as other:
        await subscribe(client)
        await subscribe(other, causes=False)
        shop.n = 1
        receipt = await shop.sync.notify("items", "1")
        await settled(shop.sync)
        delta, current = client.pending()
        assert (delta["event"], current["event"], current["causes"]) == ("delta", "current", [receipt.token])
        assert (current["rev"], current["version"]) == (delta["rev"], delta["version"])
        assert told(other) == ["delta"]
        receipt = await shop.sync.notify("items", "1")  # nothing is new, and that is what is said
        await settled(shop.sync)
        assert told(client) == ["current", receipt.token]
        assert told(other) == []


@in_virtual_time
async def test_not_by_a_load_that_began_before():
    """A notify during a load is covered by the next one; one whose load fails, by the one that succeeds."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await subscribe(client)
        shop.n = 1
        first = await shop.sync.notify("items", "1")
        await asyncio.sleep(0.005)
        shop.n = 2
        second = await shop.sync.notify("items", "1")
        await settled(shop.sync)
        assert told(client) == ["delta", "current", first.token, "delta", "current", second.token]
        shop.n, shop.fails = 3, 2
        third = await shop.sync.notify("items", "1")
        await asyncio.sleep(1)
        assert told(client) == ["delta", "current", third.token]


@in_virtual_time
async def test_through_a_row_that_rides_along():
    """A notify of a row is covered by the views that hold it."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await subscribe(client, "reports")
        shop.n = 1
        receipt = await shop.sync.notify("items", "1")
        await settled(shop.sync)
        assert told(client) == ["delta", "current", receipt.token]


@in_virtual_time
async def test_a_slow_client_is_told_once():
    """States are merged while it does not read; the tokens come after the newest, all of them."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await subscribe(client)
        client.stall()
        tokens = []
        for shop.n in (1, 2, 3):
            tokens.append((await shop.sync.notify("items", "1")).token)
            await asyncio.sleep(0.1)
        client.resume()
        await settled(shop.sync)
        assert told(client) == ["snapshot", "current", *tokens]


@in_virtual_time
async def test_from_another_node_and_out_of_the_backlog():
    """Tokens travel with the change; where several became one while the broker was away, all are told."""
    bus = Bus(Random(4))
    brokers = FaultyBroker(bus), FaultyBroker(bus)
    here, there = (Shop(broker=broker) for broker in brokers)
    async with here.sync, there.sync:
        await asyncio.sleep(10)
        async with connect(there.sync) as client:
            await subscribe(client)
            there.n = 1
            receipt = await here.sync.notify("items", "1")
            await asyncio.sleep(1)
            assert told(client) == ["delta", "current", receipt.token]
            cut = asyncio.ensure_future(brokers[0].cut(20))
            await asyncio.sleep(10)
            there.n = 2
            tokens = [(await here.sync.notify("items", "1")).token for _ in range(3)]
            await cut
            await asyncio.sleep(10)
            assert set(tokens) <= set(told(client))


async def test_wrong_causes_are_refused():
    """It is a flag."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.send({"action": "subscribe", "body": {"entity": "items", "id": "1", "causes": 1}})
        ack = await client.receive_until("ack")
        assert ack["failed"][0]["code"] == "bad_body"


@in_virtual_time
async def test_a_load_that_gives_up_and_one_who_asks_twice():
    """A value that cannot be sent covers nothing; asking again neither repeats nor loses what is covered."""
    shop = Shop()
    value: Any = {"n": 0}

    async def load(id: str) -> Any:
        return value

    shop.sync.entity("values")(load)
    async with shop.sync, connect(shop.sync) as client:
        await subscribe(client, "values")
        value = {"n": object()}
        first = await shop.sync.notify("values", "1")
        await settled(shop.sync)
        assert told(client) == ["stale"]
        value = {"n": 1}
        second = await shop.sync.notify("values", "1")
        await settled(shop.sync)
        assert told(client) == ["snapshot", "current", first.token, second.token, "fresh"]
        await subscribe(client, "values")
        assert told(client) == []


@in_virtual_time
async def test_a_new_secret_keeps_the_wish():
    """Who wanted causes gets them after a refused secret too, also of what it asked for while refused."""

    async def who(secret: str | None, _connection: ConnectionInfo) -> str:
        if secret == "bad":
            raise AccessDenied
        return secret or ""

    sync = EntitySync()
    sync.authenticate(who)

    async def item(id: str) -> str:
        return id

    sync.entity("items", public=True)(item)
    sync.entity("others", public=True)(item)
    async with sync, connect(sync) as client:
        await subscribe(client)
        await client.send({"action": "secret", "body": "bad"})
        await client.receive_until("denied")
        await client.subscribe("others", "1", causes=True)
        await client.receive_until("denied")
        await client.send({"action": "secret", "body": "ann"})
        await settled(sync)
        client.pending()
        for entity in ("items", "others"):
            receipt = await sync.notify(entity, "1")
            await settled(sync)
            assert told(client) == ["current", receipt.token]


@in_virtual_time
async def test_a_new_secret_tells_again_what_was_on_its_way():
    """A client discards what comes between its secret and the ack, so tokens of then are told once more."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await subscribe(client)
        receipt = await shop.sync.notify("items", "1")
        await settled(shop.sync)
        assert told(client) == ["current", receipt.token]
        for _ in range(2):
            await client.send({"action": "secret", "body": "ann"})
            await client.receive_until("ack")
            assert told(client) == ["current", "current", receipt.token]


@in_virtual_time
async def test_who_comes_later_is_told_what_is_remembered():
    """Who subscribes, or comes back, after a notify is told the tokens that the view remembers."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client, connect(shop.sync) as later:
        await subscribe(client)
        await settled(shop.sync)
        receipt = await shop.sync.notify("items", "1")
        await settled(shop.sync)
        await subscribe(later)
        await settled(shop.sync)
        assert told(later)[-2:] == ["current", receipt.token]


@in_virtual_time
async def test_notified_before_anybody_watched():
    """Who makes a thing and then goes to look at it is told the token of its making."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        receipt = await shop.sync.notify("items", "1")
        await subscribe(client)
        await settled(shop.sync)
        assert told(client) == ["current", receipt.token]


@in_virtual_time
async def test_notified_while_its_only_watcher_was_away():
    """A client that comes back is told the tokens of what changed meanwhile, with a new state and without."""
    shop = Shop()
    async with shop.sync:
        async with connect(shop.sync) as client:
            await subscribe(client)
        changed = await shop.sync.notify("items", "1")
        shop.n = 1
        async with connect(shop.sync) as client:
            await subscribe(client)
            await settled(shop.sync)
            assert told(client) == ["current", changed.token]


@in_virtual_time
async def test_notified_while_others_watched_without_causes():
    """Nobody had asked the view for causes: those before its last load are told at once, the others after
    the load that covers them."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as other, connect(shop.sync) as client:
        await subscribe(other, causes=False)
        before = await shop.sync.notify("items", "1")
        await settled(shop.sync)
        await subscribe(client)
        assert told(client) == ["current", before.token]
    async with shop.sync, connect(shop.sync) as other, connect(shop.sync) as client:
        await subscribe(other, causes=False)
        await settled(shop.sync)
        shop.n += 1
        running = await shop.sync.notify("items", "1")
        await asyncio.sleep(0.001)
        later = await shop.sync.notify("items", "1")
        await client.subscribe("items", "1", causes=True)
        await asyncio.sleep(0.001)
        assert running.token not in told(client)
        await settled(shop.sync)
        assert [one for one in told(client) if one.count(".")][-2:] == [running.token, later.token]


class Lists:
    """Lists whose loads learn only as they run what they depend on: a row, or a live query."""

    def __init__(self) -> None:
        self.value: Any = 0
        self.is_denied = False
        self.sync = EntitySync()
        self.sync.entity("items")(self.item)
        self.sync.entity("riding")(self.riding)
        self.sync.entity("live")(self.live)

    async def item(self, id: str) -> Any:
        return self.value

    async def riding(self, id: str) -> AsyncIterator[Any]:
        value = await self.read()
        yield Row("items", "1", value)

    async def live(self, id: str) -> AsyncIterator[Any]:
        yield Reads("items", list=id)
        value = await self.read()
        if self.is_denied:
            raise AccessDenied
        if value is not None:
            yield {"n": value}

    async def read(self) -> Any:
        value = self.value
        await asyncio.sleep(0.01)
        return value


@pytest.mark.parametrize("entity", ["riding", "live"])
@in_virtual_time
async def test_a_row_notified_during_the_first_load(entity: str):
    """The load that began before it does not cover it, the one that follows does."""
    lists = Lists()
    async with lists.sync, connect(lists.sync) as client:
        await client.subscribe(entity, "1", causes=True)
        await asyncio.sleep(0.005)
        lists.value = 1
        receipt = await lists.sync.notify("items", "1", tags={"list": 1})
        await lists.sync.notify("items", "2", tags={"list": 2})
        await settled(lists.sync)
        assert told(client) == ["ack", "snapshot", "snapshot", "current", receipt.token]


@pytest.mark.parametrize("entity", ["riding", "live"])
@in_virtual_time
async def test_a_row_notified_before_the_list_was_watched(entity: str):
    """Who made a row and then looks at a list that has it is told the token of its making."""
    lists = Lists()
    async with lists.sync, connect(lists.sync) as client:
        receipt = await lists.sync.notify("items", "1", tags={"list": 1})
        await lists.sync.notify("items", "2", tags={"list": 2})
        await subscribe(client, entity)
        await settled(lists.sync)
        assert told(client) == ["current", receipt.token]


@pytest.mark.parametrize("entity", ["riding", "live"])
@in_virtual_time
async def test_a_row_notified_while_others_watched_the_list(entity: str):
    """Nobody had asked the list for causes: it looks for them among those of what it depends on."""
    lists = Lists()
    async with lists.sync, connect(lists.sync) as other, connect(lists.sync) as client:
        await subscribe(other, entity, causes=False)
        await settled(lists.sync)
        before = await lists.sync.notify("items", "1", tags={"list": 1})
        await asyncio.sleep(0.005)
        during = await lists.sync.notify("items", "1", tags={"list": 1})
        await client.subscribe(entity, "1", causes=True)
        await asyncio.sleep(0.001)
        assert before.token not in told(client)
        await settled(lists.sync)
        assert [one for one in told(client) if "." in one] == [before.token, during.token]


@in_virtual_time
async def test_a_row_notified_before_a_load_that_gives_up():
    """A list that cannot be sent covers nothing; once it can, what was learnt of the other load is told."""
    lists = Lists()
    async with lists.sync, connect(lists.sync) as client:
        lists.value = object()
        before = await lists.sync.notify("items", "1")
        await client.subscribe("riding", "1", causes=True)
        await settled(lists.sync)
        assert told(client) == ["ack", "stale"]
        lists.value = 1
        after = await lists.sync.notify("items", "1")
        await settled(lists.sync)
        assert told(client) == ["snapshot", "current", before.token, after.token, "fresh"]


@in_virtual_time
async def test_a_row_notified_while_the_list_was_denied():
    """It is told when the list is seen, as what was notified of the list itself is."""
    lists = Lists()
    async with lists.sync, connect(lists.sync) as client:
        lists.is_denied = True
        before = await lists.sync.notify("items", "1", tags={"list": 1})
        await client.subscribe("live", "1", causes=True)
        await asyncio.sleep(0.005)
        during = await lists.sync.notify("items", "1", tags={"list": 1})
        await settled(lists.sync)
        assert told(client) == ["ack", "snapshot"]
        lists.is_denied = False
        after = await lists.sync.notify("items", "1", tags={"list": 1})
        await settled(lists.sync)
        assert told(client) == ["snapshot", "current", before.token, during.token, after.token]


@pytest.mark.parametrize("is_gone", [False, True])
@in_virtual_time
async def test_a_row_learnt_after_a_denial(is_gone: bool):
    """A list that was denied and is gone tells nothing of the rows that it would have held meanwhile."""
    lists = Lists()

    @lists.sync.entity("guarded")
    async def guarded(id: str) -> AsyncIterator[Any]:
        if lists.is_denied:
            raise AccessDenied
        yield Reads("items", list=id)
        yield None if is_gone else {"list": id}

    async with lists.sync, connect(lists.sync) as client:
        lists.is_denied = True
        await subscribe(client, "guarded")
        await settled(lists.sync)
        before = await lists.sync.notify("items", "1", tags={"list": 1})
        lists.is_denied = False
        own = await lists.sync.notify("guarded", "1")
        await settled(lists.sync)
        tokens = [own.token] if is_gone else [before.token, own.token]
        assert [one for one in told(client) if "." in one] == tokens


class Archive:
    """Orders with a revision, of a replica that follows when the test says so, with their author."""

    def __init__(self) -> None:
        self.order: dict[str, Any] | None = {"n": 1}
        self.name = "Ada"
        self.author = "9"
        self.sync = EntitySync()
        self.sync.entity("users")(self.user)
        self.sync.entity("orders", revision="n")(self.load)

    async def user(self, id: str) -> None:
        return None

    async def load(self, id: str) -> Any:
        if self.order is None:
            return None
        return [self.order, Row("users", self.author, {"name": self.name})]


@in_virtual_time
async def test_a_deletion_that_the_replica_does_not_have_yet():
    """Who waits for it is not told while the row is shown; once it is gone, at once."""
    shop = Archive()
    async with shop.sync, connect(shop.sync) as client:
        await subscribe(client, "orders")
        await asyncio.sleep(10)
        client.pending()
        receipt = await shop.sync.notify("orders", "1")
        await asyncio.sleep(1)
        assert told(client) == []
        shop.order = None
        await asyncio.sleep(1.1)
        assert told(client) == ["snapshot", "current", receipt.token]


@in_virtual_time
async def test_a_row_that_rides_along_of_a_replica():
    """The load after `replica_lag` covers it; a revision of the row itself needs none."""
    shop = Archive()
    async with shop.sync, connect(shop.sync) as client:
        await subscribe(client, "orders")
        await asyncio.sleep(10)
        client.pending()
        receipt = await shop.sync.notify("users", "9", revision=2)
        await asyncio.sleep(1)
        assert told(client) == []
        shop.name = "Grace"
        await asyncio.sleep(1.1)
        assert told(client) == ["snapshot", "current", receipt.token]
        shop.order = {"n": 2}
        receipt = await shop.sync.notify("orders", "1", revision=2)
        await asyncio.sleep(0.01)
        assert told(client) == ["snapshot", "current", receipt.token]


@in_virtual_time
async def test_a_row_that_the_replica_brings_along_only_now():
    """It was notified just before the load that found it: that one may lack it, so another follows."""
    shop = Archive()
    async with shop.sync, connect(shop.sync) as client, connect(shop.sync) as silent:
        await subscribe(client, "orders")
        await subscribe(silent, "orders", causes=False)
        await asyncio.sleep(10)
        client.pending()
        silent.pending()
        shop.author = "8"
        author = await shop.sync.notify("users", "8")
        await asyncio.sleep(1)
        shop.order = {"n": 2}
        order = await shop.sync.notify("orders", "1", revision=2)
        await asyncio.sleep(0.5)
        assert told(client) == ["snapshot", "current", order.token]
        shop.name = "Grace"
        await asyncio.sleep(0.6)
        assert told(client) == ["snapshot", "current", author.token]
        assert told(silent) == ["snapshot", "snapshot"]


@in_virtual_time
async def test_a_row_that_the_replica_brings_along_for_who_wants_no_causes():
    """Another load follows then too."""
    shop = Archive()
    async with shop.sync, connect(shop.sync) as client:
        await subscribe(client, "orders", causes=False)
        await asyncio.sleep(10)
        client.pending()
        shop.author = "8"
        await shop.sync.notify("users", "8")
        await asyncio.sleep(1)
        shop.order = {"n": 2}
        await shop.sync.notify("orders", "1", revision=2)
        await asyncio.sleep(0.5)
        shop.name = "Grace"
        await asyncio.sleep(0.6)
        assert told(client) == ["snapshot", "snapshot"]


@pytest.mark.parametrize("revision", [1, None])
@in_virtual_time
async def test_of_a_replica_before_anybody_watched(revision: int | None):
    """A revision that is shown covers its notify at once; a word without one waits for the replica."""
    shop = Archive()
    async with shop.sync, connect(shop.sync) as client:
        receipt = await shop.sync.notify("orders", "1", revision=revision)
        await subscribe(client, "orders")
        await asyncio.sleep(1)
        assert told(client) == (["current", receipt.token] if revision else [])
        await asyncio.sleep(1.1)
        assert receipt.token in told(client) or revision


@pytest.mark.parametrize("revision", [1, None])
@in_virtual_time
async def test_of_a_replica_while_others_watched_without_causes(revision: int | None):
    """What the view must have by now is told at once, the rest by the load that is due."""
    shop = Archive()
    async with shop.sync, connect(shop.sync) as other, connect(shop.sync) as client:
        await subscribe(other, "orders", causes=False)
        await asyncio.sleep(10)
        old = await shop.sync.notify("orders", "1")
        await asyncio.sleep(10)
        new = await shop.sync.notify("users", "9", revision=revision)  # not one of the order
        await asyncio.sleep(1)
        await subscribe(client, "orders")
        await asyncio.sleep(0.1)
        assert told(client) == ["current", old.token]
        await asyncio.sleep(1)
        assert told(client) == ["current", new.token]
