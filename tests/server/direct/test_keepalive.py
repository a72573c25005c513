"""Pings and pongs on v2; the classic contract's are in tests/classic."""

from __future__ import annotations

import pytest

from entity_sync import Settings
from entity_sync.server.keepalive import Keepalive
from entity_sync.server.standalone import listen
from entity_sync.testing import FakeClock
from tests.server.direct.board import Board
from tests.server.direct.raw import PING, PONG, V2, Frame, connected


class Socket:
    """Notes when it was pinged and dropped."""

    def __init__(self, clock) -> None:
        self.clock = clock
        self.pings: list[float] = []
        self.dropped: float | None = None
        self.is_blocked = False

    def ping(self) -> None:
        self.pings.append(self.clock.now())

    def abort(self) -> None:
        self.dropped = self.clock.now()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def socket(clock):
    return Socket(clock)


@pytest.fixture
def keepalive(clock, socket):
    found = Keepalive(socket, "v2", clock, Settings(ping_interval=25, ping_timeout=10))
    found.start()
    yield found
    found.stop()


async def test_pinged_and_kept(clock, socket, keepalive):
    """A peer that answers is pinged every ping_interval and kept."""
    for _ in range(4):
        await clock.advance(25)
        keepalive.pong()
    assert (socket.pings, socket.dropped) == ([25, 50, 75, 100], None)


async def test_dropped_after_an_unanswered_ping(clock, socket, keepalive):
    """A peer is dropped ping_timeout after a ping that it did not answer."""
    await clock.advance(25)
    keepalive.pong()
    await clock.advance(34.9)
    assert socket.dropped is None
    await clock.advance(0.1)
    assert socket.dropped == 60


async def test_a_late_pong_is_in_time(clock, socket, keepalive):
    """A pong just before the deadline counts."""
    await clock.advance(34.9)
    keepalive.pong()
    await clock.advance(15)
    assert socket.dropped is None


async def test_early_pongs_save_nothing(clock, socket, keepalive):
    """A pong that came before the ping does not answer it."""
    await clock.advance(24.9)
    keepalive.pong()
    await clock.advance(10.1)
    assert socket.dropped == 35


async def test_a_blocked_peer_is_not_pinged(clock, socket, keepalive):
    """A blocked peer is neither pinged nor dropped, and judged again when it is not blocked any more."""
    await clock.advance(25)
    socket.is_blocked = True
    await clock.advance(100)
    assert (socket.pings, socket.dropped) == ([25], None)
    socket.is_blocked = False
    await clock.advance(10)
    assert socket.dropped == 135


async def test_stopped(clock, socket, keepalive):
    """After its end nothing is pinged or dropped."""
    await clock.advance(25)
    keepalive.stop()
    await clock.advance(100)
    assert (socket.pings, socket.dropped) == ([25], None)


async def test_on_the_wire(clock):
    """On v2 the server pings every ping_interval and drops, without a close frame, ping_timeout later."""
    board = Board(
        clock=clock, settings=Settings(ping_interval=25, ping_timeout=10, beat_interval=100, stale_after=300)
    )
    async with listen(board.sync) as listener, connected(listener, V2) as client:
        await clock.advance(25)
        assert await client.frame() == Frame(PING, b"")
        client.send_frame(PONG)
        assert await client.until_pong() == []
        await clock.advance(25)
        assert await client.frame() == Frame(PING, b"")
        await clock.advance(9.9)
        assert await client.until_pong() == []
        await clock.advance(0.1)
        assert await client.rest() == b""
