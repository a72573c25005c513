"""Saying who the client is."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from entity_sync.client.link import Link
from entity_sync.client.state import Refusal
from entity_sync.clock import is_cancelled
from entity_sync.errors import AccessDenied, ConnectionLost

__all__ = ["Secret", "introduce", "renewed"]

_log = logging.getLogger("entity_sync.client")

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
    await _tell(link, await _asked(secret))


async def renewed(link: Link, secret: Secret) -> bool:
    """Ask the program's function once more, and tell the server.

    Returns:
        False where that may go better soon.

    Raises:
        ConnectionLost: there is none any more.
    """
    try:
        value = await _asked(secret)
    except Exception as error:  # noqa: BLE001 - the program's secret function may raise anything
        # The text may hold the secret: only whoever asks for debugging output gets it.
        _log.warning("the secret function failed, and is asked again: %s", type(error).__name__)
        _log.debug("the secret function failed", exc_info=error)
        return False
    try:
        await _tell(link, value)
    except (AccessDenied, Refusal) as error:
        _log.warning("the new secret is refused: %s", error)
        return not (isinstance(error, Refusal) and error.is_retryable)
    return True


async def _asked(secret: Secret) -> str | None:
    try:
        value = secret() if callable(secret) else secret
        return await value if inspect.isawaitable(value) else value
    except asyncio.CancelledError:
        if is_cancelled():
            raise
        raise ConnectionLost(1006, "the secret function cancelled itself") from None


async def _tell(link: Link, value: str | None) -> None:
    try:
        await link.ask("secret", value)
    except Refusal as refusal:
        if refusal.code != "denied":
            raise
        raise AccessDenied(refusal.text) from None
