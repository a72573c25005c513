"""Which subscription shows what was written: `Subscription.reached`, against a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from entity_sync.client import Client, Refusal, Subscription, connect
from entity_sync.client.receipts import Covered
from entity_sync.errors import ConnectionLost, NotRunning
from tests.client.test_connection import Hasty, Longest, Peer, Scripted, server, shows, soon, until

__all__ = ["server"]


@asynccontextmanager
async def watching(server: Scripted) -> AsyncIterator[tuple[Client, Peer, Subscription, Subscription]]:
    """A client that watches a row and a list, both shown, and the server's end of its connection."""
    async with connect(server.url, receipts=True, clock=Hasty(), random=Longest()) as client:
        peer = await server.accepted()
        row, listed = client.subscribe("orders", 7), client.subscribe("orders", 8)
        assert [key["causes"] for key in await peer.asked()] == [True, True]
        await peer.snapshot("7", 1, "a1", view=1)
        await peer.snapshot("8", 1, "b1", view=2)
        await until(row, shows(1))
        await until(listed, shows(1))
        yield client, peer, row, listed


async def covered(peer: Peer, id: str, view: int, version: str, *tokens: str) -> None:
    names = {"view": view, "entity": "orders", "id": id, "rev": 1, "version": version}
    await peer.say("current", **names, causes=list(tokens))


async def test_of_several_only_this_one_counts(server: Scripted):
    """The client's `reached` ends with the row that shows it, the list's not before the list does."""
    async with watching(server) as (client, peer, row, listed):
        waiting = asyncio.create_task(listed.reached("n.1"))
        await peer.snapshot("7", 2, "a2", view=1)
        await covered(peer, "7", 1, "a2", "n.1")
        await soon(client.reached("n.1"))
        await soon(row.reached("n.1"))
        assert not waiting.done()
        await peer.snapshot("8", 2, "b2", view=2)
        await covered(peer, "8", 2, "b2", "n.1")
        await soon(waiting)
        assert listed.state.data == 2


async def test_a_state_that_is_not_held_covers_nothing_yet(server: Scripted):
    """Tokens of another version than the one shown count when that has come."""
    async with watching(server) as (_, peer, row, _listed):
        waiting = asyncio.create_task(row.reached("n.1"))
        await covered(peer, "7", 1, "a2", "n.1")
        await peer.heard("resync")
        assert not waiting.done()
        await peer.snapshot("7", 2, "a2", view=1)
        await soon(waiting)
        assert row.state.data == 2


async def test_a_subscription_made_anew_has_reached_nothing(server: Scripted):
    """What a closed one had shown is not what the next one of its key shows."""
    async with watching(server) as (client, peer, row, _listed):
        await covered(peer, "7", 1, "a1", "n.1")
        await soon(row.reached("n.1"))
        row.close()
        again = client.subscribe("orders", 7)
        waiting = asyncio.create_task(again.reached("n.1"))
        await peer.asked()
        assert not waiting.done()
        await peer.snapshot("7", 1, "a1", view=1)
        await covered(peer, "7", 1, "a1", "n.1")
        await soon(waiting)


async def test_ends(server: Scripted):
    """Closing it, a refusal and the end of the client end the wait, of what was closed alone."""
    async with watching(server) as (client, peer, row, listed):
        twin, refused = client.subscribe("orders", 7), client.subscribe("orders", 9)
        message = await peer.heard("subscribe")
        waits = [asyncio.create_task(each.reached("n.1")) for each in (row, refused, twin)]
        await asyncio.sleep(0)
        row.close()
        with pytest.raises(NotRunning):
            await soon(waits[0])
        failure = {"code": "limit", "text": "full", "retryable": True, "entity": "orders", "id": "9"}
        await peer.say("ack", ref=message["ref"], failed=[failure])
        with pytest.raises(Refusal, match="limit"):
            await soon(waits[1])
        assert not waits[2].done()
    with pytest.raises(ConnectionLost):
        await soon(waits[2])
    with pytest.raises(ConnectionLost):
        await soon(listed.reached("n.1"))


async def test_needs_receipts(server: Scripted):
    """Where the server is not asked for tokens none would come, so the call says what is missing."""
    async with connect(server.url, clock=Hasty()) as client:
        with pytest.raises(RuntimeError, match=r"reached\(\) needs connect\(\.\.\., receipts=True\)"):
            await client.subscribe("orders", 7).reached("n.1")


def test_the_newest_are_kept():
    """Of more tokens than are kept the oldest are forgotten."""
    found = Covered()
    found.add(f"n.{number}" for number in range(300))
    assert [name in found for name in ("n.0", "n.43", "n.44", "n.299")] == [False, False, True, True]
