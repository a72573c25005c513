"""What waits to be taken is bounded, in order, and ended by an error only once it is empty."""

from __future__ import annotations

import asyncio

import pytest

from entity_sync.brokers import inbox as module
from entity_sync.brokers.base import Lost, Message, Restored
from entity_sync.brokers.inbox import Inbox
from entity_sync.errors import BrokerUnavailable


async def taken(inbox, count):
    found = inbox.deliveries()
    async with asyncio.timeout(10):
        return [await anext(found) for _ in range(count)]


async def test_messages_then_the_error():
    """What arrived before a connection ended is still delivered, then the first error is raised."""
    inbox = Inbox()
    inbox.put("t", [b"1", b"2"])
    inbox.fail(BrokerUnavailable("first"))
    inbox.fail(BrokerUnavailable("second"))
    found = inbox.deliveries()
    assert [await anext(found), await anext(found)] == [Message("t", b"1"), Message("t", b"2")]
    with pytest.raises(BrokerUnavailable, match="first"):
        await anext(found)


@pytest.mark.parametrize(("limit", "value"), [("_MAX_COUNT", 10), ("_MAX_BYTES", 5_000)])
async def test_one_that_is_full_says_so(monkeypatch, limit, value):
    """Too many messages, or too many bytes, are forgotten and become a gap; what comes later is kept."""
    monkeypatch.setattr(module, limit, value)
    inbox = Inbox()
    for _ in range(11):
        inbox.put("t", [bytes(1_000)])
    inbox.put("t", [b"later"])
    found = await taken(inbox, 3)
    assert found[:2] == [Lost(), Restored()]
    assert found[2] in {Message("t", bytes(1_000)), Message("t", b"later")}


async def test_bytes_are_given_back(monkeypatch):
    """What was taken or forgotten no longer counts."""
    monkeypatch.setattr(module, "_MAX_BYTES", 5_000)
    inbox = Inbox()
    for _ in range(20):
        inbox.put("t", [bytes(2_000)])
        assert await taken(inbox, 1) == [Message("t", bytes(2_000))]
        inbox.put("u", [bytes(2_000)])
        inbox.forget(frozenset({"u"}))
    inbox.put("t", [b"last"])
    assert await taken(inbox, 1) == [Message("t", b"last")]


async def test_close_ends_at_once():
    """A closed inbox yields nothing more, not even what waits."""
    inbox = Inbox()
    inbox.put("t", [b"1"])
    inbox.close()
    assert [one async for one in inbox.deliveries()] == []


async def test_close_while_a_batch_is_taken():
    """Closed or forgotten between two deliveries of a batch, it ends there."""
    inbox = Inbox()
    inbox.put("t", [b"1", b"2"])
    found = inbox.deliveries()
    assert await anext(found) == Message("t", b"1")
    inbox.forget(frozenset({"t"}))
    inbox.put("u", [b"3"])
    assert await anext(found) == Message("u", b"3")
    inbox.close()
    assert [one async for one in found] == []


async def test_others_have_their_turn():
    """A flood does not keep the loop: others run between batches."""
    inbox = Inbox()
    inbox.put("t", [b"1"] * 5_000)
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await taken(inbox, 5_000)
    task.cancel()
    assert turns >= 4
