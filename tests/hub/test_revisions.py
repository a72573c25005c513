"""Loads that read a replica: what is behind a revision that was notified or shown is not shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from entity_sync import EntitySync, Row, Settings
from entity_sync.errors import BrokerUnavailable
from entity_sync.testing import MemoryClient, connect, settled
from tests.hub.virtual import in_virtual_time
from tests.simulation.broker import Bus, FaultyBroker


class Shop:
    """Orders that are read from a replica, which follows the primary when the test says so."""

    def __init__(self, refresh_every: float | None = None, min_interval: float = 0.0, **options: Any) -> None:
        self.replica: dict[str, Any] = {"1": {"id": 1, "version": 3}}
        self.loads = 0
        self.sync = EntitySync(**options)
        self.sync.entity(
            "orders", revision="version", refresh_every=refresh_every, min_interval=min_interval
        )(self.load)

    async def load(self, id: str) -> Any:
        self.loads += 1
        return self.replica.get(id)


class Refusing(FaultyBroker):
    """One that takes no change while ``refuses``."""

    refuses = False

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        if self.refuses and "orders" in topic:
            raise BrokerUnavailable("refused")
        await super().publish(topic, payloads)


def shown(client: MemoryClient) -> list[Any]:
    """The versions that were shown, None for gone, and how often staleness began and ended."""
    found: list[Any] = []
    for message in client.pending():
        if message["event"] == "snapshot":
            found.append(message["rows"][0]["data"]["version"] if message["rows"] else None)
        elif message["event"] in ("stale", "fresh"):
            found.append(message["event"])
    return found


@in_virtual_time
async def test_a_replica_that_is_behind():
    """The load is tried again until the replica has what was notified; a client is told where that lasts."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("orders", "1")
        await settled(shop.sync)
        assert shown(client) == [3]
        await shop.sync.notify("orders", "1", revision=4)
        await asyncio.sleep(0.05)
        shop.replica["1"] = {"id": 1, "version": 4}
        await asyncio.sleep(0.2)
        assert shown(client) == [4]
        await shop.sync.notify("orders", "1", revision=5)
        await asyncio.sleep(1)
        assert shown(client) == ["stale"]
        shop.replica["1"] = {"id": 1, "version": 6}
        await asyncio.sleep(2)
        assert shown(client) == [6, "fresh"]


def test_a_revision_that_nobody_wrote(caplog: pytest.LogCaptureFixture):
    """A wrong or forged one holds what is shown up for a while, and what was shown is still not undercut."""

    @in_virtual_time
    async def check() -> None:
        shop = Shop()
        async with shop.sync, connect(shop.sync) as client, connect(shop.sync) as other:
            await client.subscribe("orders", "1")
            await asyncio.sleep(5)
            await shop.sync.notify("orders", "1", revision=2**53 - 1)
            await asyncio.sleep(1)
            shop.replica["1"] = {"version": 4}
            await shop.sync.notify("orders", "1", revision=4)
            await asyncio.sleep(5)
            assert shown(client) == [3, "stale", 4, "fresh"]
            shop.replica["1"] = {"version": 3}
            await shop.sync.notify("orders", "1", revision=5)
            await asyncio.sleep(60)
            assert shown(client) == ["stale"]
            shop.replica["1"] = {"version": 5}
            await asyncio.sleep(10)
            assert shown(client) == [5, "fresh"]
            await client.send({"action": "unsubscribe", "body": {"entity": "orders", "id": "1"}})
            await settled(shop.sync)
            await other.subscribe("orders", "1")  # by a new view, which is told what was notified before
            await settled(shop.sync)
            assert shown(other) == [5]

    check()
    found = [record.message for record in caplog.records if "was notified" in record.message]
    assert [text.split(" of ")[0] for text in found] == [f"revision {2**53 - 1}"] * 2
    assert "Settings.replica_lag" in found[0]


@in_virtual_time
async def test_a_replica_that_is_further_behind():
    """It is looked for again after twice the time, and so on: found in the end, for few loads."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("orders", "1")
        await asyncio.sleep(5)
        await shop.sync.notify("orders", "1", revision=4)
        await asyncio.sleep(10)
        assert shown(client) == [3, "stale", "fresh"]
        shop.replica["1"] = {"version": 4}
        await asyncio.sleep(10)
        assert shown(client) == [4]
        loads = shop.loads
        await asyncio.sleep(1_000)
        assert shop.loads == loads
        await shop.sync.notify("orders", "1", revision=5)
        await asyncio.sleep(86_400)
        assert shop.loads - loads < 30


def test_a_row_that_a_replica_further_behind_has_not_at_all(caplog: pytest.LogCaptureFixture):
    """What was inserted is gone with a warning, and found in the end; what never comes costs few loads."""

    @in_virtual_time
    async def check() -> None:
        shop = Shop()
        async with shop.sync, connect(shop.sync) as client:
            await client.subscribe("orders", "2")
            await asyncio.sleep(5)
            await shop.sync.notify("orders", "2", revision=1)
            await asyncio.sleep(6)
            assert shown(client) == [None, "stale", "fresh"]
            shop.replica["2"] = {"version": 1}
            await asyncio.sleep(16)
            assert shown(client) == [1]
            del shop.replica["2"]
            loads = shop.loads
            await shop.sync.notify("orders", "2", revision=2)
            await asyncio.sleep(86_400)
            assert shown(client) == ["stale", None, "fresh"]
            assert 10 < shop.loads - loads < 20

    check()
    found = [record.message for record in caplog.records if "loads do not find it" in record.message]
    assert [text.split(" was")[0] for text in found] == [
        "revision 1 of orders/'2'",
        "revision 2 of orders/'2'",
    ]


@in_virtual_time
async def test_another_replica_is_older():
    """What was shown is not taken back by a load that some notify without a revision causes."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("orders", "1")
        await settled(shop.sync)
        shop.replica["1"] = {"id": 1, "version": 2}
        await shop.sync.notify("orders", "1")
        await asyncio.sleep(0.05)
        shop.replica["1"] = {"id": 1, "version": 3, "more": True}
        await asyncio.sleep(1)
        assert shown(client) == [3, 3]


@in_virtual_time
async def test_rows_that_come_and_go():
    """An insert that the replica does not have yet is not "gone"; a deletion is told without a revision."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("orders", "2")
        await settled(shop.sync)
        assert shown(client) == [None]
        await shop.sync.notify("orders", "2", revision=1)
        await asyncio.sleep(0.05)
        shop.replica["2"] = {"version": 1}
        await asyncio.sleep(1)
        assert shown(client) == [1]
        del shop.replica["2"]
        await shop.sync.notify("orders", "2")
        await settled(shop.sync)
        assert shown(client) == [None]


@in_virtual_time
async def test_who_comes_after_the_notify():
    """A new subscriber is held to a revision that was notified before it came, on another node too."""
    bus = Bus(Random(6))
    here, there = (Shop(broker=FaultyBroker(bus)) for _ in range(2))
    async with here.sync, there.sync:
        await asyncio.sleep(10)
        await here.sync.notify("orders", "1", revision=4)
        await asyncio.sleep(1)
        async with connect(there.sync) as client:
            await client.subscribe("orders", "1")
            await asyncio.sleep(0.05)
            assert shown(client) == []
            there.replica["1"] = {"version": 4}
            await asyncio.sleep(1)
            assert shown(client) == [4]


@pytest.mark.parametrize("is_refused", [False, True])
@in_virtual_time
async def test_requests_that_notify_in_the_other_order(is_refused: bool):
    """The higher revision is waited for on the other nodes, also where both wait for the broker first."""
    bus = Bus(Random(6))
    broker = Refusing(bus)
    here, there = Shop(broker=broker), Shop(broker=FaultyBroker(bus))
    async with here.sync, there.sync, connect(there.sync) as client:
        await client.subscribe("orders", "1")
        await asyncio.sleep(10)
        broker.refuses = is_refused
        for revision in (5, 4):
            await here.sync.notify("orders", "1", revision=revision)
        there.replica["1"] = {"version": 4}
        await asyncio.sleep(0.2)
        broker.refuses = False
        await asyncio.sleep(1)
        there.replica["1"] = {"version": 5}
        await asyncio.sleep(10)
        assert [one for one in shown(client) if isinstance(one, int)][-1] == 5


@pytest.mark.parametrize("is_refused", [False, True])
@in_virtual_time
async def test_a_row_made_anew_while_the_broker_refuses(is_refused: bool):
    """Its deletion is told with it: the other nodes show the lower revision."""
    bus = Bus(Random(6))
    broker = Refusing(bus)
    here, there = Shop(broker=broker), Shop(broker=FaultyBroker(bus))
    async with here.sync, there.sync, connect(there.sync) as client:
        await client.subscribe("orders", "1")
        await asyncio.sleep(10)
        broker.refuses = is_refused
        await here.sync.notify("orders", "1")
        there.replica["1"] = {"version": 1}
        await here.sync.notify("orders", "1", revision=1)
        await asyncio.sleep(0.2)
        broker.refuses = False
        await asyncio.sleep(10)
        assert shown(client) == [3, "stale", 1, "fresh"]


@in_virtual_time
async def test_a_row_made_anew_while_words_are_lost():
    """A gap may have swallowed its deletion: a lower revision is shown as soon as it must be of a new row."""
    bus = Bus(Random(6))
    here, there = (Shop(broker=FaultyBroker(bus)) for _ in range(2))
    async with here.sync, there.sync, connect(there.sync) as client:
        await client.subscribe("orders", "1")
        await here.sync.notify("orders", "9", revision=1)
        await asyncio.sleep(10)
        bus.loss = 1.0
        await here.sync.notify("orders", "1")
        bus.loss = 0.0
        there.replica["1"] = {"version": 1}
        await here.sync.notify("orders", "1", revision=1)
        await asyncio.sleep(20)
        assert shown(client) == [3, "stale", 1, "fresh"]


@in_virtual_time
async def test_a_row_made_anew_during_an_outage():
    """Nothing of it is heard; what is loaded after the outage is shown, to who was there and who comes."""
    bus = Bus(Random(6))
    broker = FaultyBroker(bus)
    here, there = Shop(broker=FaultyBroker(bus)), Shop(broker=broker)
    async with here.sync, there.sync, connect(there.sync) as client, connect(there.sync) as late:
        await client.subscribe("orders", "1")
        await asyncio.sleep(10)
        outage = asyncio.create_task(broker.cut(5.0))
        await asyncio.sleep(1)
        await here.sync.notify("orders", "1")
        there.replica["1"] = {"version": 1}
        await here.sync.notify("orders", "1", revision=1)
        await outage
        await asyncio.sleep(20)
        assert [one for one in shown(client) if isinstance(one, int)] == [3, 1]
        await late.subscribe("orders", "1")
        await settled(there.sync)
        assert shown(late) == [1]


def test_a_replica_that_is_further_behind_after_an_outage(caplog: pytest.LogCaptureFixture):
    """It may show an older state, with a warning, and is asked again until it has what was shown."""

    @in_virtual_time
    async def check() -> None:
        broker = FaultyBroker(Bus(Random(6)))
        shop = Shop(broker=broker)
        async with shop.sync, connect(shop.sync) as client:
            await client.subscribe("orders", "1")
            await asyncio.sleep(10)
            shop.replica["1"] = {"version": 2}
            await broker.cut(1.0)
            await asyncio.sleep(8)
            assert [one for one in shown(client) if isinstance(one, int)] == [3, 2]
            shop.replica["1"] = {"version": 3}
            await asyncio.sleep(20)
            assert shown(client) == [3]

    check()
    assert len([record for record in caplog.records if "loads do not find it" in record.message]) == 1


@in_virtual_time
async def test_a_gap_of_what_rides_along():
    """It says nothing of the row itself, below which nothing is shown, however long that lasts."""
    shop = Shop()
    shop.sync.entity("users")(shop.load)

    @shop.sync.entity("reports", revision="version")
    async def report(id: str) -> list[Any]:
        return [await shop.load(id), Row("users", "9", {"name": "Ada"})]

    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("reports", "1")
        await asyncio.sleep(10)
        shop.replica["1"] = {"version": 2}
        shop.sync._life.node.hub.resync(["users"])
        await asyncio.sleep(60)
        assert shown(client) == [3, "stale"]


@in_virtual_time
async def test_a_row_made_anew_after_its_replica_had_it_still():
    """The first load after its deletion finds it there: what is made anew later is shown all the same."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("orders", "1")
        await asyncio.sleep(10)
        await shop.sync.notify("orders", "1")
        await asyncio.sleep(1)
        shop.replica["1"] = {"version": 1}
        await shop.sync.notify("orders", "1", revision=1)
        await asyncio.sleep(20)
        assert shown(client) == [3, "stale", 1, "fresh"]


@pytest.mark.parametrize("row", [{"id": 1}, {"version": "3"}, {"version": -1}, {"version": True}], ids=str)
async def test_values_without_a_revision(row: dict[str, Any], caplog: pytest.LogCaptureFixture):
    """They fail the load, and the log says what is missing."""
    shop = Shop()
    shop.replica["1"] = row
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("orders", "1")
        await settled(shop.sync)
        assert shown(client) == ["stale"]
    assert "revision" in caplog.text


@in_virtual_time
async def test_what_no_revision_tells_is_looked_for_again():
    """A first load, and one after a deletion, may have read a replica that was behind: another follows."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("orders", "1")
        await asyncio.sleep(1)
        shop.replica["1"] = {"version": 4}  # committed before we subscribed, replicated only now
        await asyncio.sleep(2)
        assert shown(client) == [3, 4]
        await shop.sync.notify("orders", "1")  # deleted, and the replica has it still
        await asyncio.sleep(1)
        assert shown(client) == []
        del shop.replica["1"]
        await asyncio.sleep(2)
        assert shown(client) == [None]
        loads = shop.loads
        await asyncio.sleep(100)
        assert shop.loads == loads


@in_virtual_time
async def test_refresh_keeps_min_interval():
    """Nobody waits for it, but for the one that a replica's lag asks for."""
    shop = Shop(refresh_every=1.0, min_interval=10.0)
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("orders", "1")
        await asyncio.sleep(5)
        loads = shop.loads
        assert loads <= 4
        await asyncio.sleep(100)
        assert 8 <= shop.loads - loads <= 10


@in_virtual_time
async def test_who_comes_from_another_node():
    """With another version it waits for what the replica must have by then; with the same it does not."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("orders", "1")
        await asyncio.sleep(5)
        (held,) = [one["version"] for one in client.pending() if one["event"] == "snapshot"]
        async with connect(shop.sync) as other, connect(shop.sync) as same:
            for one, version in ((other, "newer"), (same, held)):
                await one.subscribe("orders", "1", version=version)
            await asyncio.sleep(1.9)
            assert [message["event"] for message in same.pending()] == ["ack", "current"]
            assert shown(other) == []
            shop.replica["1"] = {"version": 4}
            await asyncio.sleep(0.2)
            assert shown(other) == [4]


@in_virtual_time
async def test_a_version_that_the_next_load_brings():
    """Who comes to a node where nobody watched, with what its first load finds, need not wait."""
    shop = Shop()
    async with shop.sync:
        async with connect(shop.sync) as client:
            await client.subscribe("orders", "1")
            version = (await client.receive_until("snapshot"))["version"]
        async with connect(shop.sync) as client:
            await client.subscribe("orders", "1", version=version)
            await asyncio.sleep(0.1)
            assert [message["event"] for message in client.pending()] == ["ack", "current"]


@in_virtual_time
async def test_what_rides_along_may_be_behind_too():
    """A change of a row in it says nothing of the view's own revision: it is looked at twice."""
    sync, name, loads = EntitySync(settings=Settings(replica_lag=5.0)), "Ada", 0

    @sync.entity("users")
    async def user(_id: int) -> dict[str, str]:
        return {"name": name}

    @sync.entity("reports", revision="version")
    async def report(_id: str) -> list[Any]:
        nonlocal loads
        loads += 1
        return [{"version": 1}, Row("users", 9, {"name": name})]

    async with sync, connect(sync) as client:
        await client.subscribe("reports", "1")
        await asyncio.sleep(60.0)
        client.pending()
        loads = 0
        await user.notify(9)  # the replica has it a second later
        await asyncio.sleep(1.0)
        assert loads == 1
        name = "Grace"
        await asyncio.sleep(10.0)
        [news] = [message for message in client.pending() if message["event"] == "snapshot"]
        assert news["rows"][1]["data"] == {"name": "Grace"}
        assert loads == 2


@in_virtual_time
async def test_what_a_load_finds_to_ride_along_may_be_behind_too():
    """A change of it while that load runs is looked at twice as well."""
    sync, name, loads = EntitySync(settings=Settings(replica_lag=5.0)), "Ada", 0

    @sync.entity("users")
    async def user(_id: int) -> None:
        return None

    @sync.entity("reports", revision="version", timeout=20.0)
    async def report(_id: str) -> list[Any]:
        nonlocal loads
        loads += 1
        found = [{"version": 1}, Row("users", 9, {"name": name})]
        await asyncio.sleep(8.0 if loads == 1 else 0.0)
        return found

    async with sync, connect(sync) as client:
        await client.subscribe("reports", "1")
        await asyncio.sleep(7.0)
        await user.notify(9)  # the replica has it four seconds later
        await asyncio.sleep(4.0)
        name = "Grace"
        await asyncio.sleep(20.0)
        shown = [message for message in client.pending() if message["event"] == "snapshot"]
        assert shown[-1]["rows"][1]["data"] == {"name": "Grace"}


@pytest.mark.parametrize("refresh_every", [3_600.0, None])
@pytest.mark.parametrize("revision", [5, None])
@in_virtual_time
async def test_a_row_that_is_repaired_where_the_replica_is_behind(
    revision: int | None, refresh_every: float | None
):
    """What cannot be sent may be what was there before the repair: it is loaded again when that is sure."""
    shop = Shop(refresh_every)
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("orders", "1")
        await asyncio.sleep(10)
        shop.replica["1"] = {"version": 4, "total": float("nan")}
        await shop.sync.notify("orders", "1", revision=4)
        await asyncio.sleep(10)
        assert shown(client) == [3, "stale"]
        await shop.sync.notify("orders", "1", revision=revision)  # repaired, and the replica has it later
        await asyncio.sleep(1)
        shop.replica["1"] = {"version": 5, "total": 1}
        await asyncio.sleep(1.1)
        assert shown(client) == [5, "fresh"]


@in_virtual_time
async def test_a_classic_client_is_pushed_a_row_that_is_repaired_where_the_replica_is_behind():
    """Its only notify met what cannot be sent: what is found when that is sure is the push for it."""
    shop = Shop(None)
    shop.replica["1"] = {"version": 4, "total": float("nan")}
    async with shop.sync, connect(shop.sync, wire="classic") as client:
        await client.subscribe("orders", "1")
        await asyncio.sleep(10)
        await shop.sync.notify("orders", "1")
        await asyncio.sleep(1)
        shop.replica["1"] = {"version": 5, "total": 1}
        await asyncio.sleep(5)
        assert [json.loads(frame) for frame in client.received] == [{"version": 5, "total": 1}]


@in_virtual_time
async def test_a_row_that_cannot_be_sent_while_a_revision_is_missed():
    """It is looked for again all the same, each time after twice as long."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("orders", "1")
        await asyncio.sleep(5)
        await shop.sync.notify("orders", "1", revision=9)
        await asyncio.sleep(6)  # retries of up to 3.2 s
        assert shown(client) == [3, "stale", "fresh"]
        shop.replica["1"] = {"version": 4, "total": float("nan")}
        await asyncio.sleep(20)
        assert shown(client) == ["stale"]
        shop.replica["1"] = {"version": 9}
        await asyncio.sleep(60)
        assert shown(client) == [9, "fresh"]


@in_virtual_time
async def test_a_row_that_nobody_repairs():
    """It costs one more load for each word of it, and its clients are told with the first."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        shop.replica["1"] = {"version": 3, "total": float("nan")}
        await client.subscribe("orders", "1")
        await asyncio.sleep(0.01)
        assert shown(client) == ["stale"]
        await asyncio.sleep(100)
        assert shop.loads == 2
        await shop.sync.notify("orders", "1", revision=4)
        await asyncio.sleep(1)
        await shop.sync.notify("orders", "1")
        await asyncio.sleep(100)
        assert shop.loads == 5
