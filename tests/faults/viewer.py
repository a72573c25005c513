"""A client in memory that shows rows, remembers what it was told, and complains of broken promises."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from entity_sync.app import EntitySync
from entity_sync.errors import ConnectionLost
from entity_sync.model import ConnectionInfo, Wire
from entity_sync.testing import MemoryClient

__all__ = ["ENTITY", "Viewer"]

ENTITY = "items"


class Viewer:
    """One client of one node.

    Attributes:
        node: the number of its node.
        shown: id → the value it shows.
        is_stale: it was told that everything it shows may be old.
        was_stale: how often it was told so.
    """

    def __init__(self, name: str, node: int, wire: Wire, complain: Callable[[str], None]) -> None:
        self.name = name
        self.node = node
        self.wire = wire
        self.shown: dict[str, int] = {}
        self.is_stale = False
        self.was_stale = 0
        self._complain = complain
        self._views: dict[int, str] = {}
        self._stale_ids: set[str] = set()

    async def run(self, sync: EntitySync, ids: Iterable[str]) -> None:
        """Subscribe, and look until cancelled."""
        client = MemoryClient.of(sync, ConnectionInfo(self.wire))
        try:
            for id in ids:
                await client.send({"action": "subscribe", "body": {"entity": ENTITY, "id": id}})
            while True:
                message = await client.receive()
                client.received.clear()
                for part in message if isinstance(message, list) else [message]:
                    self._take(part)
        except ConnectionLost as error:
            self._complain(f"{self.name} was closed: {error}")
        finally:
            client.leave()

    def says_stale(self, id: str) -> bool:
        """Whether a look at it warns that this row may be old."""
        return self.is_stale or id in self._stale_ids

    def _take(self, message: dict[str, Any]) -> None:
        if self.wire == "classic":
            self._show(message)
            return
        match message["event"]:
            case "snapshot":
                self._views[message["view"]] = message["id"]
                self._show(message["rows"][0]["data"])
            case "stale":
                self._told_stale(message)
            case "fresh":
                self._told_fresh(message)
            case "welcome" | "ack" | "beat" | "current":
                pass
            case other:
                self._complain(f"{self.name} was sent {other}: {message}")

    def _told_stale(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._stale_ids.add(message["id"])
        else:
            self.is_stale = True
            self.was_stale += 1

    def _told_fresh(self, message: dict[str, Any]) -> None:
        if "view" in message:
            self._stale_ids.discard(self._views[message["view"]])
        else:
            self.is_stale = False

    def _show(self, row: dict[str, Any]) -> None:
        id, value = row["id"], row["n"]
        if value < self.shown.get(id, -1):
            self._complain(f"{self.name} went back from {self.shown[id]} to {value} of {id}")
        self.shown[id] = value
