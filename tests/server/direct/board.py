"""A small application for the clients of these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence

from entity_sync import EntitySync
from entity_sync.brokers.base import Delivery
from entity_sync.errors import BrokerUnavailable
from entity_sync.server.http import Page


class Board:
    """What a test changes, and what it looks at.

    Attributes:
        loads: the id of every load so far.
    """

    def __init__(self, **options) -> None:
        self.sync = EntitySync(**options)
        self.rows: dict[str, object] = {}
        self.loads: list[str] = []
        self.pages = {"/": Page(b"<!doctype html>", "text/html; charset=utf-8")}

        @self.sync.entity("items")
        async def items(id: str):
            self.loads.append(id)
            return self.rows.get(id, {"id": id})

        self.items = items

    @property
    def members(self):
        return self.sync.node.members


class AwayBroker:
    """A broker that cannot be reached."""

    async def connect(self) -> None:
        raise BrokerUnavailable("nobody is there")

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        raise BrokerUnavailable("nobody is there")

    async def subscribe(self, topics: Collection[str]) -> None:
        raise BrokerUnavailable("nobody is there")

    async def unsubscribe(self, topics: Collection[str]) -> None:
        raise BrokerUnavailable("nobody is there")

    async def receive(self) -> AsyncIterator[Delivery]:
        raise BrokerUnavailable("nobody is there")
        yield

    async def close(self) -> None:
        pass
