"""Waiting until everything that is known has reached the clients."""

from __future__ import annotations

import asyncio

from entity_sync.app import EntitySync
from entity_sync.core.loadstate import LoadState
from entity_sync.hub.node import Node

__all__ = ["settled"]

_QUIET_TURNS = 5


async def settled(sync: EntitySync, within: float = 30.0) -> None:
    """Return when no load runs or waits, no change waits for the broker, and all is written.

    ``authorize``, ``authenticate`` and ``on_message`` have answered whatever they were asked for clients.
    A load whose failure has been told, a question that failed and is asked again later, and a client that
    does not read, do not count: none of them ends by waiting. With a `FakeClock`, what waits for it counts
    until the test advances it, as the tries of a load that fails and the paced loads of many views that
    hold one row do: there use ``await clock.advance(1)``, which lets all that is due run. Changes that
    another process has published and that have not arrived here yet cannot be known.

    Args:
        within: seconds of the running loop.

    Raises:
        NotRunning: ``sync`` is not started.
        TimeoutError: it took longer; the text names what goes on.
    """
    quiet = 0
    try:
        async with asyncio.timeout(within):
            while quiet < _QUIET_TURNS:
                await asyncio.sleep(0 if quiet or sync.node.idle else 0.001)
                quiet = quiet + 1 if sync.node.idle else 0
    except TimeoutError:
        raise TimeoutError(f"not settled within {within:g} s: {_what_goes_on(sync.node)}") from None


def _what_goes_on(node: Node) -> str:
    if not node.link.outgoing.idle:
        is_up = node.link.is_up
        return "changes wait for the broker" + ", which cannot be reached: is it running?" * (not is_up)
    loading = sorted({view.key.entity for view in node.hub.views if view.state is not LoadState.IDLE})
    goes_on = [f"loads of {', '.join(loading)} run, or wait for their turn or a FakeClock"] if loading else []
    if asked := sorted(node.asked()):
        goes_on.append(f"no answer yet of {', '.join(asked)}")
    return "; ".join(goes_on) or "views wait to be loaded again, or clients to be written to"
