"""Asking the application who a client is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeAlias

from entity_sync.clock import Clock, is_cancelled, timeout
from entity_sync.core.effects import Admitted, Refused
from entity_sync.errors import AccessDenied, placed
from entity_sync.loading.loader import principal_key
from entity_sync.model import ConnectionInfo
from entity_sync.settings import Settings

__all__ = ["Authenticator", "admit", "expires_at", "no_answer"]

_log = logging.getLogger("entity_sync.authenticate")

Authenticator: TypeAlias = Callable[[str | None, ConnectionInfo], Awaitable[Any]]


async def admit(
    function: Authenticator, secret: str | None, info: ConnectionInfo, settings: Settings, clock: Clock
) -> Admitted | Refused:
    """Ask, for a bounded time; whatever goes wrong is a refusal, never an exception."""
    try:
        async with timeout(clock, settings.authenticate_timeout):
            principal = await function(secret, info)
        return _checked(principal, clock.wall())
    except AccessDenied:
        return Refused()
    except (TimeoutError, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and is_cancelled():
            raise  # the client left, or the node closes
        return no_answer(f"there was none within {settings.authenticate_timeout:g} s, or it was cancelled")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the application may raise anything
        # Its text may hold the secret: only whoever asks for debugging output gets it.
        _log.warning("authenticate raised %s (its text is logged at DEBUG)", placed(error))
        _log.debug("authenticate raised", exc_info=error)
        return Refused("busy", "who this is could not be established", retryable=True)


def no_answer(why: str) -> Refused:
    """What becomes of a question that ended without one."""
    _log.warning("authenticate gave no answer: %s", why)
    return Refused("busy", "who this is could not be established in time", retryable=True)


def _checked(principal: object, now: float) -> Admitted | Refused:
    """Whether it can be a principal, and is one still."""
    try:
        key = principal_key(principal)
        ends = expires_at(principal)
    except AccessDenied as mistake:  # of the application, not of the client: somebody has to hear of it
        _log.error("%s", mistake)
        return Refused()
    return Admitted(principal, key) if ends is None or ends > now else Refused()


def expires_at(principal: object) -> float | None:
    """When a principal ends, in seconds since 1970: its ``expires_at``; None if it does not.

    Raises:
        AccessDenied: that is no number of seconds before the year 10000, and no datetime with a time zone.
    """
    value = getattr(principal, "expires_at", None)
    if value is None:
        return None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise AccessDenied(f"{_WRONG} a datetime without a time zone: datetime.now(UTC) has one")
        return value.timestamp()
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise AccessDenied(f"{_WRONG} of type {type(value).__name__}: {_RIGHT}")
    if not -_FOREVER < value <= _FOREVER:  # NaN is neither
        hint = " (milliseconds?)" if value > 0 else ""
        raise AccessDenied(f"{_WRONG} no moment before the year 10000{hint}: {_RIGHT}, or None for no end")
    return float(value)


_WRONG = "authenticate returned a principal whose expires_at is"
_RIGHT = "it is seconds since 1970, or a datetime with a time zone"
_FOREVER = 253_402_300_800  # seconds, the year 10000; what is beyond, infinity included, nobody meant
