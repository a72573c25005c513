"""Bytes on their way to the parser: every turn of the loop is bounded."""

from __future__ import annotations

import asyncio

from entity_sync.server.intake import Intake


class Parser:
    """Counts a frame every six bytes, the smallest a client can send."""

    def __init__(self) -> None:
        self.taken = b""
        self.turns: list[int] = []
        self.is_reading = True
        self.intake = Intake(self.feed, self.read)

    def feed(self, data: bytes) -> int:
        self.taken += data
        self.turns[-1] += len(data) // 6
        return len(data) // 6

    def read(self, is_reading: bool) -> None:
        self.is_reading = is_reading

    async def take(self, data: bytes) -> None:
        """Hand the data over and wait, noting the frames of each turn of the loop."""
        self.turns.append(0)
        self.intake.take(data)
        while not self.is_reading:
            self.turns.append(0)
            await asyncio.sleep(0)


async def test_a_flood_is_taken_in_slices():
    """A flood of tiny frames is spread over many turns, with reading paused until it is through."""
    parser = Parser()
    data = bytes(range(256)) * 1_024
    await parser.take(data)
    assert parser.taken == data
    assert max(parser.turns) <= 64 + 170
    assert len(parser.turns) > 100


async def test_little_is_taken_at_once():
    """What one turn can handle is handled in the turn in which it came."""
    parser = Parser()
    await parser.take(b"x" * 300)
    await parser.take(b"y" * 300)
    assert parser.turns == [50, 50]


async def test_a_held_connection_is_fed_nothing():
    """While it is held nothing is fed or read; afterwards everything is, in order."""
    parser = Parser()
    parser.turns.append(0)
    parser.intake.hold()
    parser.intake.take(b"a" * 2_000)
    parser.intake.take(b"b" * 2_000)
    await asyncio.sleep(0)
    assert (parser.taken, parser.is_reading) == (b"", False)
    parser.intake.release()
    await parser.take(b"c")
    assert parser.taken == b"a" * 2_000 + b"b" * 2_000 + b"c"


async def test_hold_within_a_feed():
    """A connection that becomes busy with one slice is not fed the next one."""
    parser = Parser()
    fed = []

    def feed(data: bytes) -> int:
        fed.append(data)
        intake.hold()
        return 0

    intake = Intake(feed, parser.read)
    intake.take(b"x" * 3_000)
    assert [len(data) for data in fed] == [1_024]
    intake.release()
    await asyncio.sleep(0)
    assert [len(data) for data in fed] == [1_024, 1_024]


async def test_nothing_after_close():
    """What waits when the connection ends is forgotten."""
    parser = Parser()
    parser.turns.append(0)
    parser.intake.take(b"x" * 10_000)
    parser.intake.close()
    before = parser.taken
    await asyncio.sleep(0)
    assert parser.taken == before
