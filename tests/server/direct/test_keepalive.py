"""Pings and pongs on v2; the classic contract's are in tests/classic."""

from __future__ import annotations

import asyncio

import pytest

from entity_sync import Settings
from entity_sync.model import Wire
from entity_sync.server.keepalive import Keepalive
from entity_sync.server.standalone import listen
from entity_sync.testing import FakeClock
from tests.server.direct.board import Board
from tests.server.direct.raw import PING, PONG, TEXT, V2, Frame, connected


class Socket:
    """Notes when it was pinged and dropped."""

    def __init__(self, clock) -> None:
        self.clock = clock
        self.pings: list[float] = []
        self.dropped: float | None = None
        self.is_blocked = False
        self.is_reading = True

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


SETTINGS = Settings(
    ping_interval=25,
    ping_timeout=10,
    classic_ping_interval=25,
    classic_pong_deadline=35,
    beat_interval=1_000,
    stale_after=3_000,
)
WIRES: list[tuple[Wire, int]] = [("v2", 10), ("classic", 35)]  # with how long a pong may take


@pytest.fixture
def keepalive(clock, socket):
    found = Keepalive(socket, "v2", clock, SETTINGS)
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


@pytest.mark.parametrize(("wire", "patience"), WIRES)
async def test_a_peer_that_is_not_read_is_not_judged(clock, socket, wire: Wire, patience: int):
    """Its pongs may be waiting for us; once it is read it has the whole time for one, and no longer."""
    keepalive = Keepalive(socket, wire, clock, SETTINGS)
    keepalive.start()
    await clock.advance(25)
    socket.is_reading = False
    await clock.advance(99)
    socket.is_reading = True
    keepalive.resume()
    await clock.advance(patience - 0.1)
    assert (len(socket.pings), socket.dropped) == (5 if wire == "v2" else 6, None)
    await clock.advance(0.1)
    assert socket.dropped == 124 + patience
    keepalive.stop()


async def test_early_resumptions_save_nothing(clock, socket, keepalive):
    """To be read again before the ping does not answer it."""
    await clock.advance(24.9)
    keepalive.resume()
    await clock.advance(10.1)
    assert socket.dropped == 35


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


class Busy(Board):
    """An application that takes messages one at a time, when the test lets it."""

    MANY = 300  # messages: more than are read ahead

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock, settings=SETTINGS)
        self.may_answer = asyncio.Event()

        @self.sync.on_message
        async def answer(_message):
            await self.may_answer.wait()
            return 1

    async def keep_waiting(self, client, clock: FakeClock, wire: Wire, *, pongs: bool) -> None:
        """Have the client's messages wait for longer than any pong may take, then answer all of them."""
        for n in range(self.MANY):
            client.send({"action": "message", "body": n} if wire == "v2" else {"n": n})
        for _ in range(4):
            await clock.advance(25)
            assert await client.frame() == Frame(PING, b"")
            if pongs:
                client.send_frame(PONG)
        await clock.advance(24)
        assert len(self.members) == 1
        self.may_answer.set()
        for _ in range(self.MANY):
            assert (await client.frame()).opcode == TEXT
        await client.until_pong()


@pytest.mark.parametrize(("wire", "patience"), WIRES)
async def test_whose_messages_wait(clock, wire: Wire, patience: int):
    """A client whose messages wait for the application is read no further, and not dropped for the pongs that
    stand behind them; afterwards it has to answer pings like any other."""
    board = Busy(clock)
    async with listen(board.sync) as listener, connected(listener, V2 if wire == "v2" else None) as client:
        await board.keep_waiting(client, clock, wire, pongs=True)
        await clock.advance(1)
        assert await client.frame() == Frame(PING, b"")
        await clock.advance(patience - 1.1)
        assert len(board.members) == 1
        await clock.advance(1.1)
        await client.rest()
        assert len(board.members) == 0


@pytest.mark.parametrize(("wire", "patience"), WIRES)
async def test_who_is_gone_while_its_messages_wait(clock, wire: Wire, patience: int):
    """One that answered no ping meanwhile is dropped after the usual time, once it is read again."""
    board = Busy(clock)
    async with listen(board.sync) as listener, connected(listener, V2 if wire == "v2" else None) as client:
        await board.keep_waiting(client, clock, wire, pongs=False)
        await clock.advance(patience - 0.1)
        assert len(board.members) == 1
        await clock.advance(0.1)
        await client.rest()
        assert len(board.members) == 0
