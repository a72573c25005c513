"""The Go original's defects, by their number: each is something that this server must not do.

9, 19 and 21 are about what NSQ does with queued messages and lost channels, so they belong to the tests of
the broker adapters, as do the NSQ halves of 10, 11 and 18. The rest is here, on the memory broker.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
from collections import Counter
from contextlib import AsyncExitStack
from functools import partial

import pytest

import entity_sync
from entity_sync import AccessDenied, ConfigurationError, EntitySync, Settings, UnknownEntity
from entity_sync.server.standalone import listen
from entity_sync.testing import connect, settled
from tests.classic.shop import open_shop
from tests.server.direct.board import AwayBroker
from tests.server.direct.raw import PATIENCE, V2, connected, dial, narrow, pushes, request, until

ROW = {"entity": "items", "id": "1"}
KEY = {"entity": "items", "id": "1"}


async def test_1_disconnects_during_pushes(shop, client):
    """1: clients that disconnect in the middle of pushes disturb nobody else."""
    client.subscribe()
    await pushes(shop.sync, client)
    seen = []
    for number in range(30):
        async with AsyncExitStack() as stack:
            for _ in range(10):
                guest = await stack.enter_async_context(shop.connected())
                guest.subscribe()
                await guest.until_pong()
            shop.rows["items", "1"] = {"number": number}
            await shop.sync.notify("items", "1")
            # Leaving the stack cuts all ten while their pushes are under way.
        seen.append(json.loads(await client.message()))
    assert seen == [{"number": number} for number in range(30)]
    await until(lambda: len(shop.sync.node.members) == 1)


async def test_2_subscription_churn_during_notifies(shop, client):
    """2: clients that subscribe and unsubscribe while changes go out disturb nobody, and are served too."""
    client.subscribe()
    await pushes(shop.sync, client)
    async with AsyncExitStack() as stack:
        churning = [await stack.enter_async_context(shop.connected()) for _ in range(8)]
        for number in range(50):
            for guest in churning:
                for action in ("subscribe", "unsubscribe", "subscribe"):
                    guest.send({"action": action, "body": KEY})
            shop.rows["items", "1"] = {"number": number}
            await shop.sync.notify("items", "1")
            await asyncio.sleep(0)
        last = {"number": 49}
        for guest in [client, *churning]:
            await pushes(shop.sync, guest)
            assert json.loads((await shop_push(shop, guest))[-1]) == last


async def shop_push(shop, client) -> list[bytes]:
    await shop.sync.notify("items", "1")
    return await pushes(shop.sync, client)


async def test_3_changes_from_many_threads(shop, client):
    """3: notifies from threads race with nothing: the last state arrives, and the secret is the latest."""
    client.subscribe("mine", "1")
    client.send({"action": "secret", "body": "s"})
    await client.until_pong()

    def work() -> None:
        for _ in range(50):
            shop.sync.notify_soon("mine", "1").result(PATIENCE)

    await asyncio.gather(*(asyncio.to_thread(work) for _ in range(4)))
    rows = [json.loads(row) for row in await pushes(shop.sync, client)]
    assert rows
    assert all(row == {"id": "1", "secret": "s"} for row in rows)


async def test_4_no_client_is_lost(shop):
    """4: of many clients that connect at once every one is served."""
    async with AsyncExitStack() as stack:
        clients = await asyncio.gather(*(stack.enter_async_context(shop.connected()) for _ in range(200)))
        for client in clients:
            client.subscribe()
            await client.until_pong()
        await shop.sync.notify("items", "1")
        assert [json.loads(await client.message()) for client in clients] == [ROW] * 200


async def test_5_a_stalled_client_holds_nobody_up(shop, client):
    """5: one client that stops reading 64 KiB rows delays neither the others nor other keys."""
    async with narrow(shop.listener) as stalled, shop.connected() as other:
        client.subscribe()
        other.subscribe("orders", "1")
        stalled.subscribe()
        for each in (client, other, stalled):
            await each.until_pong()
        stalled.transport.pause_reading()
        for number in range(200):
            shop.rows["items", "1"] = {"number": number, "fill": "x" * 65_536}
            await shop.sync.notify("items", "1")
            assert json.loads(await client.message())["number"] == number
        await shop.sync.notify("orders", "1")
        assert json.loads(await other.message()) == {"entity": "orders", "id": "1"}


async def test_6_a_broken_connection_is_forgotten_quietly(shop, client, caplog):
    """6: after a write error the connection is closed and forgotten, with no line of log per message."""
    client.subscribe()
    await client.until_pong()
    # A reset: what is written next fails.
    client.writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
    )
    with caplog.at_level(logging.INFO):
        client.transport.abort()
        for _ in range(100):
            await shop.sync.notify("items", "1")
            await asyncio.sleep(0)
        await until(lambda: not shop.sync.node.members)
        loads = len(shop.loads)
        await shop.sync.notify("items", "1")
        await settled(shop.sync)
    assert len(shop.loads) == loads
    assert len(caplog.records) <= 1


async def test_7_one_load_per_change(shop):
    """7: one change costs one load, however many subscribe."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(shop.connected()) for _ in range(50)]
        for client in clients:
            client.subscribe()
            await client.until_pong()
        for _ in range(3):
            await shop.sync.notify("items", "1")
            await settled(shop.sync)
        assert shop.loads == [("items", "1")] * 3
        for client in clients:
            assert len(await pushes(shop.sync, client)) == 3


async def calls_of_a_notify(shop, uninterested) -> int:
    """How many of our functions run for one change that nobody else than one client watches."""
    ours = entity_sync.__path__[0]
    count: Counter[str] = Counter()

    def note(frame, event, _argument) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(ours):
            count[frame.f_code.co_qualname] += 1

    async with AsyncExitStack() as stack:
        dialled = partial(connect, shop.sync, wire="classic")
        watching = await stack.enter_async_context(dialled())
        await watching.send({"action": "subscribe", "body": KEY})
        for number in range(uninterested):
            other = await stack.enter_async_context(dialled())
            await other.send({"action": "subscribe", "body": {"entity": "items", "id": f"other {number}"}})
        await settled(shop.sync)
        sys.setprofile(note)
        try:
            await shop.sync.notify("items", "1")
            await watching.receive()
        finally:
            sys.setprofile(None)
    return count.total()


async def test_8_uninterested_clients_cost_nothing(shop):
    """8: a notify looks at the key's own subscriptions, not at all clients."""
    await shop.sync.notify("items", "1")  # the first of its entity is numbered by other steps
    alone = await calls_of_a_notify(shop, 0)
    assert await calls_of_a_notify(shop, 500) == alone


async def test_10_and_11_without_a_broker(caplog):
    """10, 11: without its broker a server starts, a notify neither raises nor is lost, and clients of this
    node are served."""
    sync = EntitySync(AwayBroker())

    @sync.entity("items")
    async def items(id: str):
        return {"id": id}

    async with listen(sync) as listener, connected(listener) as client:
        client.subscribe()
        await client.until_pong()
        receipt = await sync.notify("items", "1")
        assert receipt.status == "deferred"
        assert json.loads(await client.message()) == {"id": "1"}


async def test_12_an_unknown_entity_is_an_exception(shop, client):
    """12: a notify for an unregistered entity raises in its caller and stops nothing."""
    with pytest.raises(UnknownEntity):
        await shop.sync.notify("nothing", "1")
    client.subscribe()
    assert await shop.pushed(client) == [ROW]


async def test_13_keys_do_not_collide(shop, client):
    """13: the subscriber of (`items.1`, `2`) is not sent (`items`, `1.2`)."""
    client.subscribe("items.1", "2")
    assert await shop.pushed(client, "items", "1.2") == []
    assert await shop.pushed(client, "items.1", "2") == [{"entity": "items.1", "id": "2"}]


async def test_14_state_on_subscribe_and_on_reconnect(shop):
    """14: a v2 client gets the state when it subscribes, and after a reconnect what it missed; a classic one
    by an option."""
    async with connected(shop.listener, V2) as client:
        client.send({"action": "subscribe", "body": KEY})
        first = await client.event("snapshot")
        assert first["rows"] == [{"data": ROW}]
    shop.rows["items", "1"] = {"new": True}
    async with connected(shop.listener, V2) as client:
        client.send({"action": "subscribe", "body": {**KEY, "version": first["version"]}})
        assert (await client.event("snapshot"))["rows"] == [{"data": {"new": True}}]
    async with open_shop(settings=Settings(classic_snapshot=True)) as other, other.connected() as client:
        client.subscribe()
        assert json.loads(await client.message()) == ROW


async def test_15_caps_and_rights():
    """15: subscriptions and connections have a cap, and a principal may be denied."""
    sync = EntitySync(settings=Settings(max_subscriptions=2, max_connections=1))

    def tenant(principal: str) -> str:
        if principal != "friend":
            raise AccessDenied
        return principal

    @sync.entity("items", per=tenant)
    async def items(id: str, tenant: str):
        return {"id": id, "tenant": tenant}

    async with listen(sync) as listener, connected(listener, V2) as client:
        async with dial(listener) as other:
            assert (await other.ask(request())).status == 503
        client.send({"action": "secret", "body": "friend"})
        await client.event("ack")
        client.send({"action": "subscribe", "body": [{"entity": "items", "id": id} for id in "123"]})
        failed = (await client.event("ack"))["failed"]
        assert [(one["id"], one["code"]) for one in failed] == [("3", "limit")]
        client.send({"action": "secret", "body": "stranger"})
        assert (await client.event("denied"))["id"] == "1"


async def test_16_rows_say_what_they_are(shop):
    """16: on v2 every state names its key and version, and a deletion is told."""
    async with connected(shop.listener, V2) as client:
        client.send({"action": "subscribe", "body": KEY})
        first = await client.event("snapshot")
        assert (first["entity"], first["id"], first["rev"], first["gone"]) == ("items", "1", 1, False)
        assert first["version"]
        shop.rows["items", "1"] = None
        await shop.sync.notify("items", "1")
        second = await client.event("snapshot")
        assert (second["rev"], second["gone"], second["rows"]) == (2, True, [])


async def test_17_answers_and_errors(shop):
    """17: on v2 everything is answered, and an error has a code."""
    async with connected(shop.listener, V2) as client:
        client.send({"action": "subscribe", "ref": 1, "body": KEY})
        assert await client.event("ack") == {"event": "ack", "ref": 1}
        client.send({"action": "dance", "ref": 2})
        error = await client.event("error")
        assert (error["ref"], error["code"], error["retryable"]) == (2, "unsupported", False)


async def test_18_a_slow_load_delays_no_other_key():
    """18: while one key's load takes its time, other keys of the same entity are loaded and pushed."""
    sync, released = EntitySync(), asyncio.Event()

    @sync.entity("items")
    async def items(id: str):
        if id == "slow":
            await released.wait()
        return {"id": id}

    async with listen(sync) as listener, connected(listener) as client:
        for id in ("slow", "fast"):
            client.subscribe("items", id)
        await client.until_pong()
        await sync.notify("items", "slow", "fast")
        assert json.loads(await client.message()) == {"id": "fast"}
        released.set()
        assert json.loads(await client.message()) == {"id": "slow"}


def test_20_a_bad_registration_is_refused():
    """20: a name that no broker can carry, and a second registration, are refused at once."""
    sync = EntitySync()
    for name in ("", "bad topic!", "x" * 65):
        with pytest.raises(ConfigurationError):
            sync.entity(name)(_load)
    sync.entity("items")(_load)
    with pytest.raises(ConfigurationError, match="twice"):
        sync.entity("items")(_load)


async def _load(id: str):
    return {"id": id}


async def test_20_it_stops_and_starts_again(shop):
    """20: a server can be stopped and started again."""
    sync = EntitySync()
    sync.entity("items")(_load)
    for _ in range(2):
        async with listen(sync) as listener, connected(listener) as client:
            client.subscribe()
            await client.until_pong()
            await sync.notify("items", "1")
            assert json.loads(await client.message()) == {"id": "1"}
