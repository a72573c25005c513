"""Asking the application who a client is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeAlias

from entity_sync.clock import Clock
from entity_sync.core.effects import Admitted, Refused
from entity_sync.errors import AccessDenied
from entity_sync.loading.loader import principal_key
from entity_sync.model import ConnectionInfo
from entity_sync.settings import Settings

__all__ = ["Authenticate", "admit", "expires_at"]

_log = logging.getLogger("entity_sync.authenticate")

Authenticate: TypeAlias = Callable[[str | None, ConnectionInfo], Awaitable[Any]]


async def admit(
    function: Authenticate, secret: str | None, info: ConnectionInfo, settings: Settings, clock: Clock
) -> Admitted | Refused:
    """Ask, for a bounded time; whatever goes wrong is a refusal, never an exception."""
    task = asyncio.current_task()
    assert task is not None
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        task.cancel()

    timer = clock.call_later(settings.authenticate_timeout, expire)
    try:
        principal = await function(secret, info)
        principal_key(principal)
        ends = expires_at(principal)
        if ends is not None and ends <= clock.wall():
            raise AccessDenied("its time is over")
    except AccessDenied:
        return Refused()
    except asyncio.CancelledError:
        if expired:
            task.uncancel()
        if task.cancelling():
            raise  # the client left, or the node closes
        _log.warning(
            "authenticate gave no answer within %g s, or was cancelled", settings.authenticate_timeout
        )
        return Refused("busy", "who this is could not be established in time", retryable=True)
    except Exception as error:  # noqa: BLE001 - the application may raise anything
        # Its text may hold the secret: only whoever asks for debugging output gets it.
        _log.warning("authenticate raised %s", type(error).__name__)
        _log.debug("authenticate raised", exc_info=error)
        return Refused("busy", "who this is could not be established", retryable=True)
    finally:
        timer.cancel()
    return Admitted(principal)


def expires_at(principal: object) -> float | None:
    """When a principal ends, in seconds since 1970: its ``expires_at``, a number or an aware datetime.

    Raises:
        TypeError: it is neither.
    """
    value = getattr(principal, "expires_at", None)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.timestamp()
    raise TypeError(f"expires_at is seconds since 1970 or an aware datetime, not {value!r}")
