"""Saying who the client is."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from random import Random
from typing import NoReturn, TypeAlias

from entity_sync.client.link import Link
from entity_sync.client.state import Refusal
from entity_sync.clock import Clock, is_cancelled
from entity_sync.errors import AccessDenied, ConnectionLost

__all__ = ["Identity", "Secret"]

_log = logging.getLogger("entity_sync.client")
_FIRST_DELAY, _MAX_DELAY = 0.5, 30.0

Secret: TypeAlias = str | Callable[[], str | Awaitable[str | None] | None] | None
"""Who a client is, or a function or coroutine function that is asked at each connection."""


class _Given:
    """A secret, as the program gave it once, and what its function is being asked for.

    Attributes:
        is_owed: whoever was to tell the server has not done so yet.
    """

    def __init__(self, secret: Secret) -> None:
        self.secret = secret
        self.is_owed = False
        self.asking: set[asyncio.Future[str | None]] = set()


class _Replaced(Exception):
    """The program has given another secret before this one was told."""


class Identity:
    """Who a client is: the secret that the program gave last, told on one connection after another.

    What an earlier one's function answers, or never answers, holds up nobody.
    """

    def __init__(self, secret: Secret, clock: Clock, random: Random) -> None:
        self._given = _Given(secret)
        self._clock = clock
        self._random = random
        self._telling = asyncio.Lock()  # of two secrets under way at once a link answers one

    def change(self, secret: Secret) -> None:
        """Be somebody else from now on; nobody has been told yet."""
        before, self._given = self._given, _Given(secret)
        for asking in before.asking:
            asking.cancel()

    async def introduce(self, link: Link) -> None:
        """Tell the server, unless the secret is changed before that: then whoever changes it does.

        Where this ends before it is told, `renew` tells it.

        Raises:
            AccessDenied: it refused.
            Refusal: it could not tell.
            ConnectionLost: there is none any more; or the program's function cancels itself.
            Exception: whatever the program's function raises.
        """
        given = self._given
        given.is_owed = True
        try:
            await self._tell(link, given, await self._asked(given))
        except _Replaced:
            return
        finally:
            if given.is_owed and given is self._given:
                link.expiring.set()

    async def begin(self, link: Link, *, is_first: bool) -> None:
        """Tell the server of a new connection, until it knows the secret that was given last.

        Args:
            is_first: a refusal is raised. Later it is in the log: the server says `denied` of each key, and
                another secret is the program's to find.

        Raises:
            Exception: as `introduce`.
        """
        told = self._given if self._given.secret is None else None  # without a word it is nobody's
        while told is not self._given:
            told = self._given
            try:
                await self.introduce(link)
            except AccessDenied as error:
                if is_first:
                    raise
                _log.warning("the secret is refused: %s", error)

    async def renew(self, link: Link) -> NoReturn:
        """Ask the program's function for another secret whenever the one in use is about to end, or tell
        the one that is owed.
        """
        while True:
            await link.expiring.wait()
            link.expiring.clear()
            given, delay = self._given, _FIRST_DELAY
            while (given.is_owed or callable(given.secret)) and not await self._is_renewed(link, given):
                await self._clock.sleep(self._random.uniform(0.0, delay))
                delay = min(_MAX_DELAY, delay * 2)

    async def _is_renewed(self, link: Link, given: _Given) -> bool:
        """False where asking once more may go better soon."""
        try:
            value = await self._asked(given)
        except _Replaced:
            return True
        except Exception as error:  # noqa: BLE001 - the program's secret function may raise anything
            # The text may hold the secret: only whoever asks for debugging output gets it.
            _log.warning("the secret function failed, and is asked again: %s", type(error).__name__)
            _log.debug("the secret function failed", exc_info=error)
            return False
        try:
            await self._tell(link, given, value)
        except _Replaced:
            return True
        except (AccessDenied, Refusal) as error:
            _log.warning("the new secret is refused: %s", error)
            return not (isinstance(error, Refusal) and error.is_retryable)
        return True

    async def _asked(self, given: _Given) -> str | None:
        self._check(given)
        try:
            value = given.secret() if callable(given.secret) else given.secret
            return await self._answered(given, value) if inspect.isawaitable(value) else value
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            self._check(given)
            raise ConnectionLost(1006, "the secret function cancelled itself") from None

    async def _answered(self, given: _Given, value: Awaitable[str | None]) -> str | None:
        asking = asyncio.ensure_future(value)
        given.asking.add(asking)
        try:
            return await asking
        finally:
            given.asking.discard(asking)

    async def _tell(self, link: Link, given: _Given, value: str | None) -> None:
        async with self._telling:
            self._check(given)
            given.is_owed = False
            try:
                await link.ask("secret", value)
            except Refusal as refusal:
                if refusal.code != "denied":
                    raise
                raise AccessDenied(refusal.text) from None

    def _check(self, given: _Given) -> None:
        if given is not self._given:
            raise _Replaced
