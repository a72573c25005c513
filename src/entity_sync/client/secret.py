"""Saying who the client is."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from entity_sync.client.link import Link
from entity_sync.client.state import Refusal
from entity_sync.clock import is_cancelled
from entity_sync.errors import AccessDenied, ConnectionLost

__all__ = ["Secret", "introduce"]

Secret: TypeAlias = str | Callable[[], str | Awaitable[str | None] | None] | None
"""Who a client is, or a function or coroutine function that is asked at each connection."""


async def introduce(link: Link, secret: Secret) -> None:
    """Tell the server.

    Raises:
        AccessDenied: it refused.
        Refusal: it could not tell.
        ConnectionLost: there is none any more; or the program's function raises CancelledError of its own.
        Exception: whatever the program's function raises.
    """
    try:
        value = secret() if callable(secret) else secret
        if inspect.isawaitable(value):
            value = await value
    except asyncio.CancelledError:
        if is_cancelled():
            raise
        raise ConnectionLost(1006, "the secret function cancelled itself") from None
    try:
        await link.ask("secret", value)
    except Refusal as refusal:
        if refusal.code != "denied":
            raise
        raise AccessDenied(refusal.text) from None
