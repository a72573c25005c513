"""A simulated client: keeps what it is told, changes nodes, and complains of every broken promise."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from entity_sync.client.incoming import Delta, decode
from entity_sync.client.rows import applied
from entity_sync.client.state import Row
from entity_sync.core.frame import Frame
from entity_sync.hub.node import Node
from entity_sync.model import ConnectionInfo, EntityKey
from entity_sync.server.connection import Connection

if TYPE_CHECKING:
    from tests.simulation.world import World

_Key = tuple[str, str]


@dataclass
class Copy:
    """What the client shows of one key."""

    version: str | None = None
    rows: tuple[Row, ...] = ()
    rev: int = 0
    states: dict[str, int] = field(default_factory=dict)
    highest: dict[str, int] = field(default_factory=dict)
    has_state: bool = False
    view: int = 0
    is_stale: bool = False


@dataclass
class SimulatedClient:
    """Speaks v2 (or classic) to one node at a time."""

    world: World
    name: str
    wire: str
    keys: list[_Key]
    copies: dict[_Key, Copy] = field(default_factory=dict)
    who: str = ""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    _link: Link | None = None
    _is_stale: bool = False
    _refs: int = 0
    _secret_ref: int | None = None
    _pending_who: str = ""

    def is_on(self, node: Node) -> bool:
        return self._link is not None and self._link.node is node

    def connect(self, node: Node) -> None:
        """Go to a node, with what is held."""
        self._is_stale = False
        self._secret_ref = None
        if self.wire == "classic":  # it cannot say what it shows, so another node cannot know
            for copy in self.copies.values():
                copy.highest.clear()
        self._link = Link(self, node)
        if self._pending_who or self.who:
            self.become(self._pending_who or self.who)
        self._subscribe(self.keys)

    def disconnect(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.drop()

    def become(self, who: str) -> None:
        """Change the principal."""
        self._refs += 1
        self._secret_ref, self._pending_who = self._refs, who
        self._send({"action": "secret", "ref": self._refs, "body": who})
        if self.wire == "classic":
            self.who = who

    def repeat_subscribe(self, key: _Key) -> None:
        """Subscribe once more, with the version held."""
        self._subscribe([key])

    def stall(self, is_stalled: bool) -> None:
        if self._link is not None:
            self._link.stall(is_stalled)

    @property
    def says_stale(self) -> bool:
        return self._is_stale or any(copy.is_stale for copy in self.copies.values())

    def _subscribe(self, keys: list[_Key]) -> None:
        for entity, id in keys:
            copy = self.copies.setdefault((entity, id), Copy())
            copy.is_stale = False  # the answer says it again if it is so
            body: dict[str, Any] = {"entity": entity, "id": id}
            if copy.version is not None and self.wire == "v2":
                body["version"] = copy.version
            self._send({"action": "subscribe", "body": body})

    def _send(self, message: object) -> None:
        if self._link is not None:
            self._link.send(msgspec.json.encode(message).decode())

    def take(self, link: Link, frame: Frame) -> None:
        """A frame arrived."""
        if link is not self._link:
            return
        message = msgspec.json.decode(frame.payload)
        if self.wire == "classic":
            key = EntityKey(message["entity"], message["id"])
            self.copies[key].rows = (Row(*key, message),)
            self._show(self.copies[key])
            return
        handler = getattr(self, f"_on_{message['event']}", None)
        if handler is not None:
            handler(message)

    def _on_ack(self, message: dict[str, Any]) -> None:
        if message.get("ref") is not None and message["ref"] == self._secret_ref:
            self._secret_ref = None
            if self._pending_who != self.who:
                self.who = self._pending_who
                for (entity, _), copy in self.copies.items():
                    if entity == "own":  # another principal's rows are another thing: nothing to compare
                        copy.highest.clear()

    def _on_error(self, message: dict[str, Any]) -> None:
        if message.get("ref") is not None and message["ref"] == self._secret_ref:
            self._secret_ref = None
            self.who = self._pending_who
            for key in self.copies:
                self.copies[key] = Copy()

    def _on_denied(self, message: dict[str, Any]) -> None:
        self.copies[message["entity"], message["id"]] = Copy()

    def _on_snapshot(self, message: dict[str, Any]) -> None:
        copy = self.copies[message["entity"], message["id"]]
        if self._secret_ref is not None:
            return
        copy.view, copy.rev = message["view"], message["rev"]
        copy.version, copy.has_state = message["version"], True
        own = message["entity"], message["id"]
        copy.rows = tuple(Row(*_key(own, row), row["data"]) for row in message["rows"])
        self._show(copy)

    def _on_delta(self, message: dict[str, Any]) -> None:
        if self._secret_ref is not None:
            return
        [delta] = decode(msgspec.json.encode(message).decode())
        assert isinstance(delta, Delta)
        for key, copy in self.copies.items():
            if copy.view != delta.view:
                continue
            if copy.rev != delta.base:
                self._send({"action": "resync", "body": {"view": delta.view, "rev": 0}})
                return
            copy.rows = applied(EntityKey(*key), copy.rows, delta)
            copy.rev, copy.version = delta.rev, delta.version
            self._show(copy)

    def _on_current(self, message: dict[str, Any]) -> None:
        copy = self.copies[message["entity"], message["id"]]
        if self._secret_ref is not None:
            return
        if copy.view != message["view"]:
            copy.view, copy.rev = message["view"], 0
        if copy.version == message["version"]:
            copy.has_state, copy.rev = True, message["rev"]
        else:
            self._send({"action": "resync", "body": {"view": message["view"], "rev": 0}})

    def _on_stale(self, message: dict[str, Any]) -> None:
        if message["reason"] == "broker":
            self._is_stale = True
        else:
            self.copies[message["entity"], message["id"]].is_stale = True

    def _on_fresh(self, message: dict[str, Any]) -> None:
        if "view" not in message:
            self._is_stale = False
        for copy in self.copies.values():
            if copy.view == message.get("view"):
                copy.is_stale = False

    def _show(self, copy: Copy) -> None:
        self.news.set()
        items = {row.id: row.data for row in copy.rows if "n" in row.data}
        copy.states = {id: data["n"] for id, data in items.items()}
        for id, data in items.items():
            if data.get("entity") == "own" and data["for"] != self.who:
                self.world.complain(f"{self.name} ({self.who}) was sent a row of {data['for']}")
            if data["n"] < copy.highest.get(id, -1):
                self.world.complain(f"{self.name} went back from {copy.highest[id]} to {data['n']}")
            copy.highest[id] = max(copy.highest.get(id, -1), data["n"])


def _key(own: _Key, row: dict[str, Any]) -> _Key:
    return row.get("entity", own[0]), row.get("id", own[1])


class Link:
    """A connection in memory, with a delay each way, so that frames can be under way at a drop."""

    def __init__(self, client: SimulatedClient, node: Any) -> None:
        self.node = node
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._random = client.world.random
        self._stalled: list[Frame] | None = None
        self._is_open = True
        self._up = self._down = 0.0
        self._connection = Connection(node, self, ConnectionInfo(client.wire))  # type: ignore[arg-type]
        self._connection.open()

    def send(self, text: str) -> None:
        self._up = max(self._up + 1e-6, self._loop.time() + self._random.uniform(0, 0.05))
        self._loop.call_at(self._up, self._arrive_up, text)

    def _arrive_up(self, text: str) -> None:
        if self._is_open:
            self._connection.receive(text)

    def stall(self, is_stalled: bool) -> None:
        if is_stalled and self._stalled is None:
            self._stalled = []
            self._connection.block()
        elif not is_stalled and self._stalled is not None:
            kept, self._stalled = self._stalled, None
            self._deliver(kept)
            self._connection.unblock()

    def drop(self) -> None:
        if self._is_open:
            self._is_open = False
            self._connection.lost()

    def write(self, frames: list[Frame]) -> None:
        if self._stalled is None:
            self._deliver(frames)
        else:
            self._stalled += frames

    def _deliver(self, frames: list[Frame]) -> None:
        # Calls due at the same moment have no order in asyncio, frames on a socket have one.
        self._down = max(self._down + 1e-6, self._loop.time() + self._random.uniform(0, 0.05))
        self._loop.call_at(self._down, self._arrive_down, frames)

    def _arrive_down(self, frames: list[Frame]) -> None:
        for frame in frames:
            self._client.take(self, frame)

    def close(self, code: int, reason: str) -> None:
        self._client.world.complain(f"{self._client.name} was closed: {code} {reason}")
        self.drop()

    def abort(self) -> None:
        self.drop()

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...
