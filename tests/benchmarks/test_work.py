"""How much work a change causes, counted: figures that do not depend on the machine."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from entity_sync import EntitySync, Settings
from entity_sync.core import frame as frames
from entity_sync.core import v2
from entity_sync.server.direct import Door
from entity_sync.server.entrance import Entrance
from entity_sync.testing import settled

ROOT = Path(__file__).resolve().parents[2]


class Wire(asyncio.Transport):
    """A socket that counts what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: Any) -> None:
        self.writes.append(data)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "socket" else default

    def setsockopt(self, *_option: int) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        pass


class Client:
    """A session behind the real direct door, on a transport that counts."""

    def __init__(self, sync: EntitySync, *ids: str, is_v2: bool = True) -> None:
        self.wire = Wire()
        self.door = Door(Entrance(lambda: sync.node, "/", {}))
        self.door.connection_made(self.wire)
        offer = "Sec-WebSocket-Protocol: entity-sync.v2\r\n" if is_v2 else ""
        self.door.data_received(
            (
                "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n"
            ).encode()
        )
        for id in ids:
            message = b'{"action":"subscribe","body":{"entity":"items","id":"%s"}}' % id.encode()
            self.door.data_received(bytes((0x81, 0x80 | len(message))) + bytes(4) + message)


class Shop:
    """Items whose state is a number, and whose loads are counted."""

    def __init__(self) -> None:
        self.n = 0
        self.loads = 0
        self.sync = EntitySync("memory://", settings=Settings(drain_timeout=0.01))
        self.items = self.sync.entity("items")(self.load)

    async def load(self, id: str) -> dict[str, Any]:
        self.loads += 1
        return {"id": id, "n": self.n}


def counted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[Any]:
    """Record every result of a function while it still does its work."""
    results: list[Any] = []
    original = getattr(module, name)

    def wrapper(*arguments: Any) -> Any:
        results.append(original(*arguments))
        return results[-1]

    monkeypatch.setattr(module, name, wrapper)
    return results


async def test_one_encoding_and_one_framing_for_all_sessions(monkeypatch):
    """A change is loaded once, encoded once for v2 and framed once per wire; all get the same object."""
    shop = Shop()
    async with shop.sync:
        clients = [Client(shop.sync, "7") for _ in range(50)]
        classics = [Client(shop.sync, "7", is_v2=False) for _ in range(50)]
        await settled(shop.sync)
        shop.n, shop.loads = 1, 0
        encoded = counted(monkeypatch, v2, "frame")
        framed = counted(monkeypatch, frames, "_header")
        for client in clients + classics:
            client.wire.writes.clear()
        await shop.items.notify("7")
        await settled(shop.sync)
        assert (shop.loads, len(encoded), len(framed)) == (1, 1, 2)
        for group, content in ((clients, b'"n":1'), (classics, b'{"id":"7","n":1}')):
            [first] = group[0].wire.writes
            assert content in first
            assert all(len(one.wire.writes) == 1 and one.wire.writes[0] is first for one in group)


async def test_many_changes_in_a_tick_are_one_write_for_each_session():
    """Twenty views that change in one turn of the loop reach a session that watches all in one write."""
    shop = Shop()
    ids = [str(n) for n in range(20)]
    async with shop.sync:
        clients = [Client(shop.sync, *ids) for _ in range(10)]
        await settled(shop.sync)
        for client in clients:
            client.wire.writes.clear()
        shop.n = 1
        await shop.items.notify(*ids)
        await settled(shop.sync)
        assert [len(client.wire.writes) for client in clients] == [1] * 10
        assert all(client.wire.writes[0].count(b'"n":1') == 20 for client in clients)


async def test_a_stalled_session_costs_nothing_and_gets_the_newest():
    """While a socket takes no more nothing is written to it, whatever changes; then one state per view."""
    shop = Shop()
    async with shop.sync:
        stalled, other = Client(shop.sync, "1", "2"), Client(shop.sync, "1", "2")
        await settled(shop.sync)
        stalled.door.pause_writing()
        for client in (stalled, other):
            client.wire.writes.clear()
        for n in range(1, 101):
            shop.n = n
            await shop.items.notify("1", "2")
            await settled(shop.sync)
        assert (len(stalled.wire.writes), len(other.wire.writes)) == (0, 100)
        stalled.door.resume_writing()
        await settled(shop.sync)
        [write] = stalled.wire.writes
        assert write.count(b'"event":"snapshot"') == write.count(b'"n":100') == 2


async def test_nobody_watches_nothing_is_done(monkeypatch):
    """A notify of a key that nobody watches loads, encodes and writes nothing, however many are connected."""
    shop = Shop()
    async with shop.sync:
        clients = [Client(shop.sync, str(n)) for n in range(100)]
        await settled(shop.sync)
        shop.loads = 0
        encoded = counted(monkeypatch, v2, "frame")
        for client in clients:
            client.wire.writes.clear()
        await shop.items.notify("nobody's")
        await settled(shop.sync)
        assert (shop.loads, encoded, sum(len(client.wire.writes) for client in clients)) == (0, [], 0)


@pytest.mark.parametrize("wanted", [["burst", "--sessions", "5", "--notifies", "50", "--runs", "2"]])
def test_benchmarks_run(wanted):
    """A small benchmark runs from the command line and finds every reader shown the newest state."""
    command = [sys.executable, "-m", "benchmarks", *wanted]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "readers ended with the last state" in done.stdout
