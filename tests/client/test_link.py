"""What a client's link keeps for a socket that takes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
import pytest

from entity_sync.client.link import Link
from entity_sync.client.replica import Replica
from entity_sync.testing import FakeClock


class Stuck:
    """A socket that takes what it is given when the test says so."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.may_send = asyncio.Event()
        self.link = Link(cast("Any", self), Replica(), FakeClock(), lambda: None)

    async def send(self, frame: bytes, *, text: bool) -> None:
        self.sent.append(msgspec.json.decode(frame)["body"])
        await self.may_send.wait()

    async def asking(self, action: str, body: object) -> asyncio.Task[Any]:
        task = asyncio.create_task(self.link.ask(action, body))
        await _turns()
        return task

    async def given_up(self, action: str, body: object) -> None:
        task = await self.asking(action, body)
        task.cancel()
        await asyncio.wait([task])


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def socket() -> AsyncIterator[Stuck]:
    stuck = Stuck()
    writing = asyncio.create_task(stuck.link.write())
    yield stuck
    stuck.link.lost()
    writing.cancel()
    await asyncio.wait([writing])


async def test_messages_that_are_given_up(socket: Stuck):
    """What its caller gave up before it could be sent is not sent; others keep their order."""
    tasks = [await socket.asking("message", 0)]
    for number in range(1, 20):
        if number % 5:
            await socket.given_up("message", number)
        else:
            tasks.append(await socket.asking("message", number))
    assert socket.sent == [0]
    socket.may_send.set()
    await _turns()
    assert socket.sent == [0, 5, 10, 15]
    socket.link.lost()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_secrets_that_are_given_up(socket: Stuck):
    """One that waits is sent although its caller gave up, since no data counts until it is answered;
    only a newer one takes its place."""
    first = await socket.asking("message", 0)
    for number in range(20):
        await socket.given_up("secret", f"s{number}")
    socket.may_send.set()
    await _turns()
    assert socket.sent == [0, "s19"]
    socket.link.lost()
    await asyncio.gather(first, return_exceptions=True)
