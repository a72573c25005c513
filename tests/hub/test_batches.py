"""Loads of many keys at once, loads that wait, and loads that nobody asked for."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from entity_sync import AccessDenied, ConfigurationError, ConnectionInfo, EntitySync, Row, Settings
from entity_sync.model import EntityKey
from entity_sync.testing import MemoryClient, connect, settled
from tests.hub.virtual import in_virtual_time


class Prices:
    """A batch entity: `rows` is what exists, a value that is an exception is returned, `poison` is raised."""

    def __init__(self, batch: int = 500, **options: Any) -> None:
        self.rows: dict[str, Any] = {}
        self.poison: set[str] = set()
        self.calls: list[list[str]] = []
        self.seconds = 0.0
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.sync = EntitySync()
        self.sync.entity("prices", batch=batch, **options)(self.load)

    async def load(self, ids: list[str]) -> Mapping[str, Any]:
        self.calls.append(list(ids))
        rows = {id: self.rows[id] for id in ids if id in self.rows}
        await self.may_load.wait()
        await asyncio.sleep(self.seconds)
        if self.poison.intersection(ids):
            raise ValueError("one of them cannot be read")
        return rows


def states(client: MemoryClient) -> dict[str, Any]:
    """The last state of each id among the pending messages: its value, None where it is gone."""
    found: dict[str, Any] = {}
    for message in client.pending():
        if message["event"] == "snapshot":
            found[message["id"]] = message["rows"][0]["data"] if message["rows"] else None
    return found


async def test_500_keys_are_one_query(tmp_path: Path):
    """Counted where it is certain: in SQLite's trace of the statements it ran."""
    database = sqlite3.connect(tmp_path / "prices.db")
    database.execute("CREATE TABLE price (id INTEGER PRIMARY KEY, cents INTEGER)")
    database.executemany("INSERT INTO price VALUES (?, ?)", [(id, 100) for id in range(500)])
    statements: list[str] = []
    database.set_trace_callback(statements.append)
    sync = EntitySync()

    @sync.entity("prices", batch=500)
    async def prices(ids: list[int]) -> dict[int, int]:
        marks = ",".join("?" * len(ids))
        return dict(database.execute(f"SELECT id, cents FROM price WHERE id IN ({marks})", ids))

    async with sync, connect(sync) as client:
        await client.subscribe("prices", *map(str, range(500)))
        await settled(sync)
        assert len(states(client)) == 500
        assert len(statements) == 1
        database.execute("UPDATE price SET cents = 90")
        database.commit()
        statements.clear()
        await prices.notify(*range(500))
        await settled(sync)
        assert states(client) == {str(id): 90 for id in range(500)}
        assert len(statements) == 1
    database.close()


async def test_each_key_has_its_own_end():
    """What is missing, denied or fails does so for that key's subscribers, and for nobody else."""
    prices = Prices()
    prices.rows = {"1": 10, "2": ValueError("no price"), "3": AccessDenied(), "4": object(), "5": None}
    prices.rows["7"] = AccessDenied  # the class, as in `raise AccessDenied`
    async with prices.sync, connect(prices.sync) as client:
        await client.subscribe("prices", "1", "2", "3", "4", "5", "6", "7")
        await client.receive_until("stale")
        await client.receive_until("stale")
        told = [json.loads(frame) for frame in client.received]
        assert {one["id"]: one["gone"] for one in told if one["event"] == "snapshot"} == {
            "1": False,
            "3": True,
            "5": True,
            "6": True,
            "7": True,
        }
        assert {one["id"] for one in told if one["event"] == "stale"} == {"2", "4"}


async def test_no_more_than_the_batch():
    """Keys beyond it come in the next call; views of one audience only share a call."""
    sync = EntitySync()
    calls: list[tuple[list[int], str]] = []

    @sync.entity("prices", batch=3, per=lambda user: user[-1])
    async def prices(ids: list[int], tenant: str) -> dict[int, int]:
        calls.append((list(ids), tenant))
        return dict.fromkeys(ids, 1)

    async with sync, connect(sync, secret="ann@r") as ann, connect(sync, secret="bob@b") as bob:
        await ann.subscribe("prices", "1", "2", "3", "4")
        await bob.subscribe("prices", "1", "2")
        await settled(sync)
    assert calls == [([1, 2, 3], "r"), ([4], "r"), ([1, 2], "b")]


async def test_one_bad_key_among_many():
    """The batch is halved until it stands alone: it is told, the others are shown, in a few calls."""
    prices = Prices()
    prices.rows = {str(id): id for id in range(256)}
    prices.poison = {"77"}
    async with prices.sync, connect(prices.sync) as client:
        await client.subscribe("prices", *prices.rows)
        message = await client.receive_until("stale")
        assert message["id"] == "77"
        shown = {one.split('"id":"')[1].split('"')[0] for one in client.received if "snapshot" in one}
        assert shown == set(prices.rows) - {"77"}
    assert len(prices.calls) <= 17 + 2 + 1  # eight halvings, and the retries of the one


async def test_a_batch_that_is_parted_is_for_the_same_viewers():
    """Whoever's rows were asked for together, theirs are asked for again."""
    calls: list[tuple[int, object]] = []
    sync = EntitySync()

    @sync.authenticate
    async def authenticate(secret: str | None, _info: ConnectionInfo) -> str:
        return secret or ""

    @sync.entity("prices", batch=500, per=lambda user: f"tenant of {user}")
    async def prices(ids: list[str], tenant: str) -> dict[str, str]:
        calls.append((len(ids), tenant))
        if "bad" in ids:
            raise ValueError("one of them cannot be read")
        return dict.fromkeys(ids, tenant)

    async with sync, connect(sync, secret="ann") as client:
        await client.subscribe("prices", "1", "2", "3", "bad")
        await settled(sync)
        assert states(client) == dict.fromkeys("123", "tenant of ann")
    assert len(calls) > 1
    assert {tenant for _, tenant in calls} == {"tenant of ann"}


@in_virtual_time
async def test_a_database_that_is_away():
    """Where everything raises few calls are made; what failed together is tried again together."""
    prices = Prices()
    prices.rows = {str(id): id for id in range(256)}
    prices.poison = set(prices.rows)
    async with prices.sync, connect(prices.sync) as client:
        await client.subscribe("prices", *prices.rows)
        await asyncio.sleep(0.01)
        assert len(prices.calls) <= 18
        prices.poison.clear()
        prices.calls.clear()
        await asyncio.sleep(0.5)
        assert len(states(client)) == 256
        assert [len(call) for call in prices.calls] == [256]


async def test_a_batch_beside_another_entity():
    """The keys of one turn of the loop come along, whatever else is to be loaded between them."""
    prices = Prices()
    prices.rows = {str(n): n for n in range(100)}

    @prices.sync.entity("others")
    async def other(id: str) -> str:
        return id

    def mixed(entity: str) -> list[dict[str, str]]:
        return [{"entity": name, "id": id} for id in prices.rows for name in (entity, "others")]

    async with prices.sync, connect(prices.sync) as client:
        await client.send({"action": "subscribe", "body": mixed("prices")})
        await settled(prices.sync)
        assert [len(ids) for ids in prices.calls] == [100]


@in_virtual_time
async def test_a_timeout_that_is_swallowed():
    """Whatever a loader made of its timeout, the attempt ends there, and the next calls are as any."""
    sync = EntitySync(settings=Settings(load_attempts=1))
    calls: list[list[str]] = []

    @sync.entity("prices", batch=10, timeout=1.0)
    async def prices(ids: list[str]) -> dict[str, str]:
        calls.append(ids)
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(5.0 if len(calls) == 2 else 0.0)
        if len(calls) in (1, 3):
            raise RuntimeError("deadlock")
        return dict.fromkeys(ids, "good")

    async with sync, connect(sync) as client:
        await client.subscribe("prices", "a", "b")
        await asyncio.sleep(2.0)
        assert states(client) == {"a": "good", "b": "good"}
    assert [len(ids) for ids in calls] == [2, 1, 2, 1, 1]


@in_virtual_time
@pytest.mark.parametrize("count", [1, 8, 500])
async def test_a_batch_that_raises_and_then_hangs(count: int):
    """However many keys, clients are told as soon as of one, and each attempt leaves one call behind."""
    sync = EntitySync(settings=Settings(max_entity_loads=2))
    running, most = 0, 0

    @sync.entity("prices", batch=500, timeout=10.0)
    async def prices(ids: list[str]) -> dict[str, str]:
        nonlocal running, most
        if len(ids) > 1:
            raise OSError("connection reset")
        running += 1
        most = max(most, running)
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    async with sync, connect(sync) as client:
        await client.subscribe("prices", *map(str, range(count)))
        await asyncio.sleep(9.0)
        assert "stale" not in {message["event"] for message in client.pending()}
        await asyncio.sleep(6.0)
        assert "stale" in {message["event"] for message in client.pending()}
        await asyncio.sleep(600.0)
    assert most == 2


@in_virtual_time
@pytest.mark.parametrize("bad", [3, 10, 50, 128, 255])
async def test_many_bad_keys_among_others(bad: int):
    """However many raise, the others are shown within a few attempts, each failing key is told, and none more
    calls are made than the bad keys need."""
    prices = Prices()
    prices.rows = {str(id): id for id in range(256)}
    prices.poison = {str(id * 256 // bad) for id in range(bad)}
    async with prices.sync, connect(prices.sync) as client:
        await client.subscribe("prices", *prices.rows)
        await asyncio.sleep(4.0)
        shown, told = {}, set()
        for message in client.pending():
            if message["event"] == "snapshot":
                shown[message["id"]] = message["rows"][0]["data"]
            elif message["event"] == "stale":
                told.add(message["id"])
        assert shown == {id: row for id, row in prices.rows.items() if id not in prices.poison}
        assert prices.poison <= told
        assert len(prices.calls) <= 7 * (2 * bad * 9 + 1)  # 4 s are seven attempts
        prices.poison.clear()
        await asyncio.sleep(10.0)
        assert len(states(client)) == bad


@in_virtual_time
async def test_a_slow_batch_with_bad_keys():
    """Where calls are slow an attempt ends in time, and the next ones show the rest."""
    prices = Prices(timeout=5.0)
    prices.rows = {str(id): id for id in range(64)}
    prices.poison = {str(id) for id in range(0, 64, 4)}
    prices.seconds = 0.2
    async with prices.sync, connect(prices.sync) as client:
        await client.subscribe("prices", *prices.rows)
        await asyncio.sleep(5.5)
        assert 0 < len(states(client)) < 48
        assert len(prices.calls) <= 30
        shown = 0
        for _ in range(6):
            await asyncio.sleep(10.0)
            shown += len(states(client))
        assert shown > 20


@in_virtual_time
async def test_keys_that_a_batch_denies():
    """A batch that raises AccessDenied is parted too: who may not sees what is absent, and never stale."""
    sync = EntitySync()
    calls = 0

    @sync.entity("prices", batch=500)
    async def prices(ids: list[int]) -> dict[int, int]:
        nonlocal calls
        calls += 1
        if any(id >= 100 for id in ids):
            raise AccessDenied
        return dict.fromkeys(ids, 1)

    async with sync, connect(sync) as client:
        await client.subscribe("prices", *map(str, range(90, 200)))
        await asyncio.sleep(0.001)
        told = client.pending()
        assert {one["event"] for one in told} == {"ack", "snapshot"}
        assert {one["id"]: one["gone"] for one in told if one["event"] == "snapshot"} == {
            str(id): id >= 100 for id in range(90, 200)
        }
        assert calls <= 220


@in_virtual_time
async def test_what_failed_together_is_logged_once(caplog: pytest.LogCaptureFixture):
    """Keys that nobody could tell from those that a batch raises for are not blamed one by one."""
    prices = Prices()
    prices.rows = {str(id): id for id in range(200)}
    prices.poison = set(prices.rows)
    async with prices.sync, connect(prices.sync) as client:
        await client.subscribe("prices", *prices.rows)
        await asyncio.sleep(1.0)
        assert len([one for one in client.pending() if one["event"] == "stale"]) == 200
    lines = [record for record in caplog.records if record.name == "entity_sync.loads"]
    assert [line.getMessage().split("failed: ")[1] for line in lines] == [
        "200 keys together: ValueError: one of them cannot be read"
    ]
    assert lines[0].exc_info


async def test_one_that_leaves_takes_nobody_along():
    """Whoever unsubscribes while a batch runs does not end it for the others; the last one does."""
    prices = Prices()
    prices.rows = {"1": 1, "2": 2}
    prices.may_load.clear()
    async with prices.sync, connect(prices.sync) as client:
        await client.subscribe("prices", "1", "2")
        while not prices.calls:
            await asyncio.sleep(0)
        await client.send({"action": "unsubscribe", "body": {"entity": "prices", "id": "1"}})
        prices.may_load.set()
        await settled(prices.sync)
        assert states(client) == {"2": 2}
        prices.may_load.clear()
        await prices.sync.notify("prices", "2")
        while len(prices.calls) < 2:
            await asyncio.sleep(0)
        await client.send({"action": "unsubscribe", "body": {"entity": "prices", "id": "2"}})
        await settled(prices.sync)  # without may_load: the call was ended


@pytest.mark.parametrize(
    ("answer", "text"), [([1, 2], "a mapping of ids to values"), ({"1": 1, "2": 2}, "ids of type int")]
)
async def test_answers_of_a_wrong_shape(answer: Any, text: str, caplog: pytest.LogCaptureFixture):
    """No mapping, and keys that are no ids and would make everything seem gone, are the loader's failure."""
    sync = EntitySync()

    @sync.entity("prices", batch=10)
    async def prices(ids: Sequence[int]) -> Any:
        return answer

    async with sync, connect(sync) as client:
        await client.subscribe("prices", "1", "2")
        await settled(sync)
        assert [one["event"] for one in client.pending()] == ["ack", "stale", "stale"]
    assert text in caplog.text


class DriverUUID(UUID):
    """As databases' drivers return them."""


async def test_a_drivers_uuids():
    """They are the keys of an answer like plain ones, also those that nobody asked for."""
    sync = EntitySync()
    id = "0a0a0a0a-0000-0000-0000-000000000001"

    @sync.entity("prices", batch=10)
    async def prices(ids: list[UUID]) -> dict[UUID, int]:
        found: dict[UUID, int] = {DriverUUID(str(one)): 4 for one in ids}
        return found | {DriverUUID(int=7): 5}

    async with sync, connect(sync) as client:
        await client.subscribe("prices", id)
        await settled(sync)
        assert states(client) == {id: 4}


async def test_plain_functions_and_uuids():
    """A plain batch loader runs in a thread, and its ids are of the annotated type."""
    sync = EntitySync()
    id = "0a0a0a0a-0000-0000-0000-000000000001"

    @sync.entity("prices", batch=10)
    def prices(ids: list[UUID]) -> dict[UUID, str]:
        return {one: one.hex for one in ids}

    async with sync, connect(sync) as client:
        await client.subscribe("prices", id)
        await settled(sync)
        assert states(client) == {id: UUID(id).hex}


@in_virtual_time
async def test_one_that_is_too_large():
    """It is refused by itself."""
    sync = EntitySync(settings=Settings(max_view_bytes=100))

    @sync.entity("texts", batch=10)
    async def texts(ids: list[str]) -> dict[str, str]:
        return {id: "x" * int(id) for id in ids}

    async with sync, connect(sync) as client:
        await client.subscribe("texts", "10", "200")
        await settled(sync)
        ends = {message["id"]: message["event"] for message in client.pending() if "id" in message}
        assert ends == {"10": "snapshot", "200": "error"}


@in_virtual_time
async def test_rows_ride_along_in_a_batch():
    """Each value may be several rows, which are watched as those of a loader of one key are."""
    sync, names = EntitySync(), {9: "Ada"}

    @sync.entity("users")
    async def users(id: int) -> dict[str, str]:
        return {"name": names[id]}

    @sync.entity("reports", batch=10)
    async def reports(ids: list[str]) -> dict[str, list[Any]]:
        return {id: [{"title": id}, Row("users", 9, {"name": names[9]})] for id in ids}

    async with sync, connect(sync) as client:
        await client.subscribe("reports", "1", "2")
        await settled(sync)
        client.pending()
        names[9] = "Grace"
        await users.notify(9)
        await settled(sync)
        shown = {message["id"]: message["rows"][1]["data"] for message in client.pending()}
        assert shown == {"1": {"name": "Grace"}, "2": {"name": "Grace"}}


@in_virtual_time
async def test_min_interval():
    """However often it changes, so many loads in a second; the last state is shown, the first at once."""
    n, loads = 0, 0
    sync = EntitySync()

    @sync.entity("prices", min_interval=0.1)
    async def prices(id: str) -> int:
        nonlocal loads
        loads += 1
        return n

    async with sync, connect(sync) as client, connect(sync) as other:
        began = asyncio.get_running_loop().time()
        await client.subscribe("prices", "1")
        await settled(sync)
        assert states(client) == {"1": 0}
        assert asyncio.get_running_loop().time() - began < 0.01
        for _ in range(100):
            n += 1
            await prices.notify("1")
            await asyncio.sleep(0.01)
        assert 9 <= loads <= 12
        await asyncio.sleep(0.1)
        assert states(client) == {"1": 100}
        n, loads = 101, 0
        await prices.notify("1")
        await settled(sync)  # also what waits for its interval
        assert states(client) == {"1": 101}
        await prices.notify("1")  # waits, until somebody comes who holds another state
        version = {"entity": "prices", "id": "1", "version": "other"}
        await other.send({"action": "subscribe", "body": version})
        await settled(sync)
        assert states(other) == {"1": 101}
        assert loads == 2


@in_virtual_time
async def test_min_interval_of_what_rides_along():
    """A list whose rows change often keeps its interval as well."""
    n, loads = 0, 0
    sync = EntitySync()

    @sync.entity("prices")
    async def price(_id: str) -> int:
        return n

    @sync.entity("lists", min_interval=0.1)
    async def prices(_id: str) -> list[Row]:
        nonlocal loads
        loads += 1
        return [Row("prices", "tea", n)]

    async with sync, connect(sync) as client:
        await client.subscribe("lists", "1")
        await settled(sync)
        for _ in range(100):
            n += 1
            await price.notify("tea")
            await asyncio.sleep(0.01)
        await settled(sync)
        assert 9 <= loads <= 13
        assert states(client) == {"1": 100}


@in_virtual_time
async def test_refresh_every():
    """What nobody notified is found, in time; nothing is sent where nothing changed, or loaded unwatched."""
    n, loads = 0, 0
    sync = EntitySync()

    @sync.entity("prices", refresh_every=10)
    async def prices(id: str) -> int:
        nonlocal loads
        loads += 1
        return n

    async with sync:
        async with connect(sync) as client:
            await client.subscribe("prices", "1")
            await asyncio.sleep(50)
            assert 5 <= loads <= 6
            assert states(client) == {"1": 0}
            n = 1
            await asyncio.sleep(11.5)
            assert states(client) == {"1": 1}
        loads = 0
        await asyncio.sleep(100)
        assert loads == 0


@pytest.mark.parametrize(
    "options", [{"batch": 0}, {"min_interval": -1.0}, {"refresh_every": 0.0}, {"batch": 5}], ids=str
)
def test_declarations_that_cannot_be(options: dict[str, Any]):
    """They are refused as they are made; the ids of a batch are a list."""

    async def prices(id: list[float]) -> None: ...

    with pytest.raises(ConfigurationError, match="prices"):
        EntitySync().entity("prices", **options)(prices)


@pytest.mark.parametrize("batch", [True, 1.5, "5"])
def test_a_batch_is_a_number_of_ids(batch: Any):
    """Nothing else that looks like one is taken for it."""

    async def prices(ids: list[int]) -> dict[int, int]:
        return {}

    with pytest.raises(ConfigurationError, match="how many ids"):
        EntitySync().entity("prices", batch=batch)(prices)


async def _yielding(ids: list[int]) -> AsyncIterator[dict[int, int]]:
    yield {}


def _plainly_yielding(ids: list[int]) -> Iterator[dict[int, int]]:
    yield {}


@pytest.mark.parametrize("loader", [_yielding, _plainly_yielding])
def test_a_batch_loader_does_not_yield(loader: Any):
    """What it yields would belong to no id, so it is refused as it is declared."""
    with pytest.raises(ConfigurationError, match="does not yield"):
        EntitySync().entity("prices", batch=5)(loader)


@in_virtual_time
async def test_keys_that_are_allowed_one_by_one():
    """While loads of the entity run, those allowed within a few milliseconds go together; the first waits for
    nobody."""
    sync, calls = EntitySync(), list[tuple[float, int]]()
    loop = asyncio.get_running_loop()

    async def may(_user: str, key: EntityKey) -> bool:
        await asyncio.sleep(int(key.id) / 1_000)
        return True

    @sync.entity("prices", batch=500, authorize=may)
    async def prices(ids: list[int]) -> dict[int, int]:
        calls.append((round(loop.time() - began, 3), len(ids)))
        await asyncio.sleep(0.1)
        return dict.fromkeys(ids, 1)

    sync.authenticate(_anybody)
    async with sync, connect(sync, secret="ann") as client, connect(sync, secret="bob") as other:
        began = loop.time()
        await client.subscribe("prices", *range(1, 9))  # as many as are asked about at once for one client
        await other.subscribe("prices", *range(9, 17))
        await asyncio.sleep(1)
        assert calls[0] == (0.001, 1)
        assert sum(count for _, count in calls) == 16
        assert len(calls) == 4
        assert len(states(client)) == len(states(other)) == 8


async def _anybody(secret: str | None, _connection: ConnectionInfo) -> str:
    return secret or ""


@in_virtual_time
async def test_keys_that_come_as_a_load_ends():
    """They wait no longer than for its end."""
    sync, calls = EntitySync(), list[tuple[float, list[int]]]()
    loop = asyncio.get_running_loop()

    @sync.entity("prices", batch=500)
    async def prices(ids: list[int]) -> dict[int, int]:
        calls.append((round(loop.time() - began, 3), list(ids)))
        await asyncio.sleep(0.002)
        return dict.fromkeys(ids, 1)

    async with sync, connect(sync) as client:
        began = loop.time()
        await client.subscribe("prices", 1)
        await asyncio.sleep(0.001)
        await client.subscribe("prices", 2)
        await asyncio.sleep(0.0005)
        await client.subscribe("prices", 3)
        await asyncio.sleep(1)
        assert calls == [(0.0, [1]), (0.002, [2, 3])]
