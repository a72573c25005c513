"""What happens to a connection in the middle of what it does."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest

from entity_sync import EntityKey, EntitySync
from entity_sync.model import ConnectionInfo
from entity_sync.server.serial import Serial
from entity_sync.testing import FakeClock, MemoryClient, connect


class Shop:
    """An application that revokes whom it is asked about, before it answers, once the test says so."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.sync = EntitySync(clock=self.clock)
        self.closing = ""
        self.leaving: MemoryClient | None = None
        self.begun: list[Coroutine[Any, Any, Any]] = []
        self.sync.authenticate(self.who)
        self.sync.entity("orders", authorize=self.quick)(self.load)
        self.sync.entity("bills", authorize=self.slow, per=self.team)(self.load_for)
        self.sync.entity("plans", per=self.team)(self.load_for)
        self.sync.entity("news", public=True)(self.load)

    async def who(self, secret: str | None, connection: ConnectionInfo) -> str:
        return secret or "nobody"

    def quick(self, user: str, key: EntityKey) -> bool:
        if self.leaving is not None:
            self.leaving.leave()
        return not self._close(user, "authorize")

    async def slow(self, user: str, key: EntityKey) -> bool:
        return True

    def team(self, user: str) -> str:
        self._close(user, "per")
        return f"the team of {user}"

    async def load(self, id: str) -> int:
        return 1

    async def load_for(self, id: str, team: str) -> str:
        return team

    def _close(self, user: str, where: str) -> bool:
        if self.closing == where:
            revoking = self.sync.revoke(user)
            self.begun.append(revoking)
            with suppress(StopIteration):
                revoking.send(None)  # the first step is taken at once, as by asyncio.eager_task_factory
        return self.closing == where


async def subscribe(client: MemoryClient, *entities: str) -> None:
    await client.send({"action": "subscribe", "body": [{"entity": each, "id": "1"} for each in entities]})


async def lead_to(event: str, shop: Shop, client: MemoryClient) -> None:
    """One of what makes a connection ask about all its keys."""
    if event == "a secret":
        await client.send({"action": "secret", "body": "ann"})
    elif event == "reauthorize":
        await shop.sync.reauthorize("ann")
    elif event == "the interval":
        await shop.clock.advance(60)
    else:
        shop.sync.node.principals.doubt()
    await shop.clock.advance(0)


async def nothing_flows(shop: Shop, client: MemoryClient) -> None:
    """Each key was denied, nothing is watched, and no change is shown."""
    shop.closing = ""
    last: dict[str, str] = {}
    for one in client.pending():
        if "entity" in one:
            last[one["entity"]] = one["event"]
            assert one["event"] == "denied"
    assert sorted(last) == sorted(KEYS)
    assert len(shop.sync.node.hub.views) == 0
    for entity in KEYS:
        await shop.sync.notify(entity, "1")
    await shop.clock.advance(1)
    assert [one for one in client.pending() if one["event"] != "beat"] == []
    for each in shop.begun:
        each.close()


KEYS = ("orders", "bills", "plans", "news")
ORDERS = [KEYS, KEYS[::-1], ("plans", "orders", "news", "bills")]


@pytest.mark.parametrize("keys", ORDERS, ids="-".join)
@pytest.mark.parametrize("closing", ["authorize", "per"])
async def test_revoked_while_it_subscribes(closing: str, keys: tuple[str, ...]):
    """Who is revoked by what the application does while it is asked of one key is denied all of them, those
    that were granted before it and those that follow."""
    shop = Shop()
    async with shop.sync, connect(shop.sync, secret="ann") as client:
        shop.closing = closing
        await subscribe(client, *keys)
        await shop.clock.advance(0)
        await nothing_flows(shop, client)


AGAIN = [
    *(("authorize", event) for event in ("a secret", "reauthorize", "the interval", "a gap")),
    *(("per", event) for event in ("a secret", "a gap")),  # else it is not asked
]


@pytest.mark.parametrize("keys", ORDERS, ids="-".join)
@pytest.mark.parametrize(("closing", "event"), AGAIN)
async def test_revoked_while_it_is_asked_again(closing: str, event: str, keys: tuple[str, ...]):
    """The same where it watches them already, whatever it is asked again for."""
    shop = Shop()
    async with shop.sync, connect(shop.sync, secret="ann") as client:
        await subscribe(client, *keys)
        await shop.clock.advance(0)
        client.pending()
        shop.closing = closing
        await lead_to(event, shop, client)
        await nothing_flows(shop, client)


async def test_revoked_while_its_first_view_is_found():
    """`per` is asked when an `authorize` that took its time has granted the key."""
    shop = Shop()
    async with shop.sync, connect(shop.sync, secret="ann") as client:
        await subscribe(client, *KEYS[1:2])
        shop.closing = "per"
        await shop.clock.advance(0)
        assert client.pending()[-1]["event"] == "denied"
        assert len(shop.sync.node.hub.views) == 0


async def test_gone_while_it_is_asked():
    """Nothing is watched for a client that left in the middle of its own subscribe."""
    shop = Shop()
    async with shop.sync, connect(shop.sync, secret="ann") as client:
        shop.leaving = client
        await subscribe(client, *KEYS)
        await shop.clock.advance(0)
        assert len(shop.sync.node.hub.views) == 0


def test_one_after_the_other():
    """What comes up in the middle follows, in order, before the call returns; also where something raised."""
    serial, done = Serial(), list[str]()

    def first() -> None:
        serial.do(second)
        serial.do(lambda: done.append("third"))
        done.append("first")

    def second() -> None:
        serial.do(lambda: done.append("fourth"))
        done.append("second")
        raise LookupError

    for _ in range(2):
        with pytest.raises(LookupError):
            serial.do(first)
        assert done == ["first", "second", "third", "fourth"]
        done.clear()
