"""Messages on their way to the application, when who sent them is nobody any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from entity_sync import AccessDenied, ClientMessage, ConnectionInfo, EntitySync
from entity_sync.testing import MemoryClient, connect, settled


class Shop:
    """An application that takes its time for each message."""

    def __init__(self) -> None:
        self.sync = EntitySync()
        self.taken: list[tuple[str, Any]] = []
        self.may_answer = asyncio.Event()
        self.fails: Exception | None = None
        self.raises: BaseException | None = None
        self.cancels = False
        self.sync.authenticate(self.who)
        self.sync.on_message(self.answer)

    async def who(self, secret: str | None, connection: ConnectionInfo) -> str:
        if secret == "bad":
            raise AccessDenied
        if self.fails is not None:
            raise self.fails
        return secret or ""

    async def answer(self, message: ClientMessage) -> Any:
        self.taken.append((message.principal, message.json()))
        await self.may_answer.wait()
        if self.raises is not None and message.json() == 1:
            raise self.raises
        if self.cancels and message.json() == 1:
            own = asyncio.current_task()
            assert own is not None
            own.cancel()
            await asyncio.Event().wait()
        return message.json()


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    async with shop.sync:
        yield shop


async def send(client: MemoryClient, *bodies: int) -> None:
    await client.send([{"action": "message", "ref": body, "body": body} for body in bodies])
    await asyncio.sleep(0)  # the first is handed over


async def told(shop: Shop, client: MemoryClient) -> list[Any]:
    """What comes once the application answers."""
    shop.may_answer.set()
    await settled(shop.sync)
    await client.send({"action": "ping"})
    came: list[Any] = []
    while ("pong", None, None) not in came:
        message = await client.receive()
        came.append((message["event"], message.get("code"), message.get("ref")))
    return came[:-1]


async def test_revoked_while_messages_wait(shop: Shop):
    """What was handed over is answered; what waited, and what follows, is refused and not handed over."""
    async with connect(shop.sync, secret="eve") as client:
        await send(client, 1, 2, 3)
        await shop.sync.revoke("eve")
        await send(client, 4)
        assert await told(shop, client) == [
            ("error", "denied", 2),
            ("error", "denied", 3),
            ("error", "denied", 4),
            ("message", None, 1),
        ]
        assert shop.taken == [("eve", 1)]
        await client.send({"action": "secret", "ref": 9, "body": "ann"})
        await send(client, 5)
        assert await told(shop, client) == [("ack", None, 9), ("message", None, 5)]
        assert shop.taken == [("eve", 1), ("ann", 5)]


async def test_refused_while_messages_wait(shop: Shop):
    """A secret that is refused makes its client nobody, for what it sent before too."""
    async with connect(shop.sync, secret="ann") as client:
        await send(client, 1, 2)
        await client.send({"action": "secret", "ref": 3, "body": "bad"})
        assert await told(shop, client) == [
            ("error", "denied", 2),
            ("error", "denied", 3),
            ("message", None, 1),
        ]
        assert shop.taken == [("ann", 1)]


async def test_in_doubt_while_messages_wait(shop: Shop):
    """Where nobody can tell who sent them, they are to be sent again later."""
    async with connect(shop.sync, secret="ann") as client:
        await send(client, 1, 2)
        shop.fails = ConnectionError("no store of sessions")
        shop.sync.node.principals.doubt()
        assert await told(shop, client) == [("error", "busy", 2), ("message", None, 1)]
        assert shop.taken == [("ann", 1)]


async def test_a_client_that_had_to_wait_is_read_again(shop: Shop):
    """Reading stopped because so many waited: it goes on when they are refused."""
    async with connect(shop.sync, secret="eve") as client:
        await send(client, *range(100))
        waiting = asyncio.ensure_future(client.send({"action": "ping"}))
        await asyncio.sleep(0)
        assert not waiting.done()
        await shop.sync.revoke("eve")
        await waiting
        assert (await client.receive_until("pong"))["event"] == "pong"
        assert len(shop.taken) == 1


class Panic(BaseException):
    """As an extension written in Rust raises it."""


@pytest.mark.parametrize("error", [LookupError(), asyncio.CancelledError(), Panic()], ids=repr)
async def test_whatever_it_raises_is_an_answer(shop: Shop, error: BaseException):
    """What is behind it is handed over all the same, and no detail of it reaches its sender."""
    shop.raises = error
    async with connect(shop.sync, secret="ann") as client:
        await send(client, 1, 2)
        assert await told(shop, client) == [("error", "failed", 1), ("message", None, 2)]


async def test_a_task_that_it_cancels(shop: Shop, caplog: pytest.LogCaptureFixture):
    """A function that cancels the task it runs in has failed; what waits behind it is handed over."""
    shop.cancels = True
    async with connect(shop.sync, secret="ann") as client:
        await send(client, 1, 2, 3)
        assert await told(shop, client) == [
            ("error", "failed", 1),
            ("message", None, 2),
            ("message", None, 3),
        ]
    [record] = caplog.records
    assert record.getMessage() == "on_message raised CancelledError"
    assert "cancelled its own task" in caplog.text


@pytest.mark.parametrize("outcome", ["an answer", "an error", "a cancellation that it swallows"])
async def test_a_message_pays_for_no_other(outcome: str, caplog: pytest.LogCaptureFixture):
    """Whatever a function does to its own task, and however that message ends, those behind it are handled to
    their end, in order.
    """
    sync, done = EntitySync(), list[int]()

    @sync.on_message
    async def answer(message: ClientMessage) -> Any:
        if message.json() == 1:
            own = asyncio.current_task()
            assert own is not None
            own.cancel()
            if outcome == "an error":
                raise LookupError
            if outcome != "an answer":
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
        else:
            await asyncio.sleep(0)
            if message.json() == 3:
                raise asyncio.CancelledError
        done.append(message.json())
        return message.json()

    async with sync, connect(sync) as client:
        await send(client, 1, 2, 3, 4)
        await settled(sync)
        assert [(one["event"], one["ref"]) for one in client.pending()] == [
            ("error" if outcome == "an error" else "message", 1),
            ("message", 2),
            ("error", 3),
            ("message", 4),
        ]
    assert done == ([2, 4] if outcome == "an error" else [1, 2, 4])
    assert len(caplog.records) == (2 if outcome == "an error" else 1)


async def test_nothing_is_handed_over_for_who_left(shop: Shop, caplog: pytest.LogCaptureFixture):
    """The function is told to end, and what waited is forgotten, without a word in the log."""
    async with connect(shop.sync, secret="ann") as client:
        await send(client, 1, 2)
        client.leave()
        shop.may_answer.set()
        await settled(shop.sync)
    assert shop.taken == [("ann", 1)]
    assert not caplog.records
