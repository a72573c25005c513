"""Waiting while a test holds back an answer of the application, for which `settled` would wait."""

from __future__ import annotations

import asyncio

from entity_sync import EntitySync

_QUIET_TURNS = 5


async def all_but_asked(sync: EntitySync) -> None:
    """Return when no load runs, no change waits for the broker, and all is written."""
    quiet = 0
    while quiet < _QUIET_TURNS:
        await asyncio.sleep(0)
        quiet = quiet + 1 if sync.node.hub.idle and sync.node.link.outgoing.idle else 0
