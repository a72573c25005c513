"""Following one row in a terminal, on either wire."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from random import SystemRandom
from typing import Any

import click
import msgspec
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from entity_sync.cli.output import Output, printable
from entity_sync.cli.states import show
from entity_sync.client import Refusal, State, connect
from entity_sync.client.link import reason_of
from entity_sync.errors import AccessDenied, ConnectionLost
from entity_sync.model import EntityKey

__all__ = ["watch"]

_FIRST_DELAY, _MAX_DELAY = 1.0, 30.0
_CLOSE_TIMEOUT = 2.0


def watch(url: str, key: EntityKey, secret: str | None, *, is_classic: bool, output: Output) -> None:
    """Show the row, and every change of it, until interrupted.

    Raises:
        click.UsageError: the URL is no WebSocket's.
        click.ClickException: the server is not there, or refuses.
    """
    if not url.startswith(("ws://", "wss://")):
        secure, _, rest = url.partition("://")
        hint = f"{'wss' if secure == 'https' else 'ws'}://{rest or url}"
        raise click.UsageError(f"{url!r} is not the URL of a WebSocket. Did you mean {hint} ?")
    follow = _follow_classic if is_classic else _follow_v2
    try:
        asyncio.run(_until_terminated(follow(url, key, secret, output)))
    except ConnectionLost as lost:
        raise click.ClickException(
            f"cannot connect to {url}: {printable(lost.reason or str(lost.code))}\n"
            "Is the server running, and is this the path it serves? (A Go server needs --classic.)"
        ) from None
    except AccessDenied:
        raise click.ClickException(
            "the server refused the secret.\nSet ENTITY_SYNC_SECRET to a valid one, or use --ask-secret."
        ) from None
    except Refusal as refusal:
        raise click.ClickException(printable(f"the server refused {refusal}")) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        output.event("goodbye")


async def _until_terminated(following: Coroutine[Any, Any, None]) -> None:
    # SIGTERM too, since a shell has its background jobs ignore SIGINT.
    task = asyncio.ensure_future(following)
    with suppress(NotImplementedError):  # Windows has no such signal
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task


async def _follow_v2(url: str, key: EntityKey, secret: str | None, output: Output) -> None:
    before = State()
    async with connect(url, secret=secret) as client:
        async for state in client.subscribe(key.entity, key.id):
            show(before, state, output)
            before = state


async def _follow_classic(url: str, key: EntityKey, secret: str | None, output: Output) -> None:
    is_first, delay = True, _FIRST_DELAY
    while True:
        try:
            async with open_socket(url, compression=None, close_timeout=_CLOSE_TIMEOUT) as socket:
                is_first, delay = False, _FIRST_DELAY
                if secret is not None:
                    await socket.send(_text({"action": "secret", "body": secret}))
                await socket.send(_text({"action": "subscribe", "body": key}))
                output.event("waiting", why="a classic server says nothing until the row changes")
                async for frame in socket:
                    text = frame if isinstance(frame, str) else frame.decode(errors="replace")
                    output.event("push", data=text)
            why = "the server closed the connection"
        except (OSError, InvalidHandshake, InvalidURI, ConnectionClosed) as error:
            if is_first:
                raise ConnectionLost(1006, reason_of(error, url)) from None
            why = reason_of(error, url)
        output.event("stale", why=why)
        await asyncio.sleep(SystemRandom().uniform(0.0, delay))
        delay = min(_MAX_DELAY, delay * 2)


def _text(message: object) -> str:
    return msgspec.json.encode(message).decode()
