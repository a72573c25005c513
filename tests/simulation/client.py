"""A simulated client: keeps what it is told, changes nodes, and complains of every broken promise."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from math import inf
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
    from tests.simulation.judge import Judge

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
    is_gone: bool = False
    is_answered: bool = False
    view: int = 0
    is_stale: bool = False


@dataclass
class SimulatedClient:
    """Speaks v2 (or classic) to one node at a time."""

    judge: Judge
    name: str
    wire: str
    keys: list[_Key]
    who: str = ""
    copies: dict[_Key, Copy] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    _link: Link | None = None
    _is_stale: bool = False
    _refs: int = 0
    _secret_ref: int | None = None
    _pending_who: str = ""

    @property
    def link(self) -> Link | None:
        """Its connection."""
        return self._link

    @property
    def is_certain(self) -> bool:
        """Whether it takes what it shows for true: it reads, and was told nothing else."""
        return self._link is not None and self._link.is_read and not (self._is_stale or self._secret_ref)

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
        for copy in self.copies.values():
            copy.is_answered = False  # until it is answered again it may be somebody else's
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
        """Whether it says so of everything it shows."""
        return self._is_stale

    def _subscribe(self, keys: list[_Key]) -> None:
        for entity, id in keys:
            copy = self.copies.setdefault((entity, id), Copy())
            copy.is_stale = copy.is_answered = False  # the answer says it again if it is so
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
            key = (message["entity"], message["id"])
            self.copies[key].rows = (Row(*key, message),)
            self.copies[key].has_state = True
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
        elif "entity" in message:
            self.copies[message["entity"], message["id"]].is_stale = True

    def _on_denied(self, message: dict[str, Any]) -> None:
        self.copies[message["entity"], message["id"]] = Copy()

    def _on_snapshot(self, message: dict[str, Any]) -> None:
        copy = self.copies[message["entity"], message["id"]]
        if self._secret_ref is not None:
            return
        copy.view, copy.rev = message["view"], message["rev"]
        copy.version, copy.has_state, copy.is_answered = message["version"], True, True
        copy.is_gone = message["gone"]
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
            copy.has_state, copy.is_answered, copy.rev = True, True, message["rev"]
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
            restored = self._link.promised.popleft() if self._link is not None else -inf
            if self._secret_ref is None:
                self.judge.fresh(self, restored)
        for copy in self.copies.values():
            if copy.view == message.get("view"):
                copy.is_stale = False

    def _show(self, copy: Copy) -> None:
        self.news.set()
        items = {row.id: row.data for row in copy.rows if "n" in row.data}
        copy.states = {id: data["n"] for id, data in items.items()}
        for id, data in items.items():
            if data.get("entity") == "own" and data["for"] != self.who:
                self.judge.complain(f"{self.name} ({self.who}) was sent a row of {data['for']}")
            if data["n"] < copy.highest.get(id, -1):
                self.judge.complain(f"{self.name} went back from {copy.highest[id]} to {data['n']}")
            copy.highest[id] = max(copy.highest.get(id, -1), data["n"])


def _key(own: _Key, row: dict[str, Any]) -> _Key:
    return row.get("entity", own[0]), row.get("id", own[1])


_STATES = (b'{"event":"snapshot"', b'{"event":"delta"')
_FRESH = b'{"event":"fresh"}'


class Link:
    """A connection in memory, with a delay each way, so that frames can be under way at a drop.

    Attributes:
        node: the server.
        promised: of every fresh that is under way, which restoration of the node's broker it speaks of.
    """

    def __init__(self, client: SimulatedClient, node: Node) -> None:
        self.node = node
        self.promised: deque[float] = deque()
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._random = client.judge.shop.random
        self._stalled: list[Frame] | None = None
        self._is_open = True
        self._up = self._down = 0.0
        self._read_since = self._loop.time()
        self._connection = Connection(node, self, ConnectionInfo(client.wire))  # type: ignore[arg-type]
        self._connection.open()

    @property
    def is_open(self) -> bool:
        """Whether neither side ended it."""
        return self._is_open

    @property
    def is_read(self) -> bool:
        """Whether the client has been reading for a while."""
        return self._is_open and self._stalled is None and self._loop.time() > self._read_since + 1.0

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
            self._read_since = self._loop.time()
            self._deliver(kept)
            self._connection.unblock()

    def drop(self) -> None:
        if self._is_open:
            self._is_open = False
            self._connection.lost()

    def write(self, frames: list[Frame]) -> None:
        states = [frame for frame in frames if frame.payload.startswith(_STATES)]
        if states and self.node.is_closed:
            self._client.judge.complain(f"{self._client.name} was sent a state by a node that fails closed")
        for frame in frames:
            if frame.payload == _FRESH:
                self.promised.append(self._client.judge.restored(self.node))
        if self._loop.time() == self._read_since:
            self._weigh(states)
        if self._stalled is None:
            self._deliver(frames)
        else:
            self._stalled += frames

    def _weigh(self, states: list[Frame]) -> None:
        """What waited for a slow client is about as much as the newest states, however many it missed."""
        waited: dict[int, int] = {}
        for frame in states:
            view = msgspec.json.decode(frame.payload)["view"]
            waited[view] = waited.get(view, 0) + len(frame)
        for view in self.node.hub.views:
            if view.loaded is not None:
                most = 300 + view.loaded.size + 100 * len(view.loaded.rows)
                if waited.get(view.number, 0) > most:
                    size = waited[view.number]
                    self._client.judge.complain(f"{size} bytes of {view.key} waited for {self._client.name}")

    def _deliver(self, frames: list[Frame]) -> None:
        # Calls due at the same moment have no order in asyncio, frames on a socket have one.
        self._down = max(self._down + 1e-6, self._loop.time() + self._random.uniform(0, 0.05))
        self._loop.call_at(self._down, self._arrive_down, frames)

    def _arrive_down(self, frames: list[Frame]) -> None:
        for frame in frames:
            self._client.take(self, frame)

    def close(self, code: int, reason: str) -> None:
        if self._stalled is None:
            self._client.judge.complain(f"{self._client.name} was closed: {code} {reason}")
        self.drop()

    def abort(self) -> None:
        self.drop()

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...
