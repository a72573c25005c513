"""Waiting until everything that is known has reached the clients."""

from __future__ import annotations

import asyncio

from entity_sync.app import EntitySync

__all__ = ["settled"]

_QUIET_TURNS = 5


async def settled(sync: EntitySync) -> None:
    """Return when no load runs or waits, no change waits for the broker, and all is written.

    A load that waits for its retry, and a client that does not read, do not count: neither ends
    by waiting. With a `FakeClock`, what waits for it counts until the test advances it, as the paced
    loads of many views that hold one row do: there use ``await clock.advance(1)``, which lets all that
    is due run. Changes that another process has published and that have not arrived here yet cannot be
    known.

    Raises:
        NotRunning: ``sync`` is not started.
    """
    quiet = 0
    while quiet < _QUIET_TURNS:
        await asyncio.sleep(0 if quiet or sync.node.idle else 0.001)
        quiet = quiet + 1 if sync.node.idle else 0
