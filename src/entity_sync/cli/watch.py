"""Following one row in a terminal, on either wire."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

import msgspec
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from entity_sync.cli.output import Output
from entity_sync.client import State, connect
from entity_sync.errors import ConnectionLost

__all__ = ["watch_classic", "watch_v2"]

_RETRY = 1.0  # seconds between tries of the classic wire


def watch_v2(url: str, entity: str, id: str, secret: str | None, output: Output) -> None:
    """Show every newest state until interrupted."""
    _until_interrupted(_follow_v2(url, entity, id, secret, output), output)


def watch_classic(url: str, entity: str, id: str, secret: str | None, output: Output) -> None:
    """Show every pushed row until interrupted."""
    _until_interrupted(_follow_classic(url, entity, id, secret, output), output)


def _until_interrupted(following: Coroutine[Any, Any, None], output: Output) -> None:
    async def follow() -> None:
        # SIGTERM too, since a shell has its background jobs ignore SIGINT.
        task = asyncio.ensure_future(following)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await task

    try:
        asyncio.run(follow())
    except (KeyboardInterrupt, asyncio.CancelledError):
        output.event("goodbye")


async def _follow_v2(url: str, entity: str, id: str, secret: str | None, output: Output) -> None:
    async with connect(url, secret=secret) as client:
        async for state in client.subscribe(entity, id):
            output.event(_name(state), data=[row.data for row in state.rows], version=state.version)


def _name(state: State) -> str:
    if state.is_denied:
        return "denied"
    if state.is_stale:
        return "stale"
    return "gone" if state.is_gone else "snapshot"


async def _follow_classic(url: str, entity: str, id: str, secret: str | None, output: Output) -> None:
    is_first = True
    while True:
        try:
            async with open_socket(url, compression=None) as socket:
                is_first = False
                if secret is not None:
                    await socket.send(_text({"action": "secret", "body": secret}))
                await socket.send(_text({"action": "subscribe", "body": {"entity": entity, "id": id}}))
                output.event("waiting", why="a classic server says nothing until the row changes")
                async for frame in socket:
                    output.event("push", data=frame if isinstance(frame, str) else frame.decode())
        except (OSError, InvalidHandshake, InvalidURI, ConnectionClosed) as error:
            if is_first:
                raise ConnectionLost(1006, f"cannot connect to {url}: {error}") from None
            output.event("stale", why=str(error))
        await asyncio.sleep(_RETRY)


def _text(message: object) -> str:
    return msgspec.json.encode(message).decode()
