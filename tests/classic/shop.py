"""A small application for the classic clients of these tests, behind the direct door."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from uuid import uuid4

from entity_sync import EntitySync
from entity_sync.brokers.memory import MemoryBroker
from entity_sync.server.standalone import Listener, listen
from tests.server.direct.raw import connected, pushes


class Shop:
    """What a test changes, and what it looks at.

    Attributes:
        loads: the key of every load so far.
        passed: (secret, text) of every message that was passed through.
    """

    listener: Listener

    def __init__(self, *, passes=True, **options) -> None:
        self.broker = f"memory://{uuid4().hex}"
        self.loads: list[tuple[str, str]] = []
        self.passed: list[tuple[str, bytes]] = []
        self.rows: dict[tuple[str, str], object] = {}
        self.sync = EntitySync(self.broker, **options)
        for name in ("items", "items.1", "orders"):
            self._add(name)
        self.sync.entity("mine")(self._mine)
        if passes:
            self.sync.on_message(self._pass)

    def _add(self, name):
        @self.sync.entity(name)
        async def load(id: str):
            self.loads.append((name, id))
            return self.rows.get((name, id), {"entity": name, "id": id})

    async def _mine(self, id: str, secret: str):
        self.loads.append(("mine", id))
        return {"id": id, "secret": secret}

    async def _pass(self, message):
        self.passed.append((message.principal, message.data))

    async def notify_as_go(self, entity, id) -> None:
        """A change of any id at all, as a node of the Go original publishes it."""
        node = MemoryBroker(self.broker)
        await node.connect()
        await node.publish(entity, [json.dumps({"entity": entity, "id": id}).encode("utf-8")])
        await node.close()

    async def pushed(self, client, entity="items", id="1") -> list[dict[str, object]]:
        """What one change of a key brings a client."""
        before = await pushes(self.sync, client)
        assert before == []
        await self.notify_as_go(entity, id)
        return [json.loads(row) for row in await pushes(self.sync, client)]

    def connected(self, **headers):
        return connected(self.listener, **headers)


@asynccontextmanager
async def open_shop(**options):
    shop = Shop(**options)
    async with listen(shop.sync) as shop.listener:
        yield shop
