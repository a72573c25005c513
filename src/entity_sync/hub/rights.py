"""Asking the application whether a principal may see a key."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any

from entity_sync.clock import Clock, is_cancelled, timeout
from entity_sync.errors import AccessDenied, placed
from entity_sync.loading.catalog import Catalog
from entity_sync.loading.signature import is_async
from entity_sync.model import EntityKey
from entity_sync.settings import Settings

__all__ = ["Question", "Rights"]

_log = logging.getLogger("entity_sync.authorize")


@dataclass(frozen=True, slots=True)
class Question:
    """One whose answer takes time.

    Attributes:
        wait: waits for the answer, a bounded time, once there is a place; None is none, which denies until
            there is one.
        handed: what ``authorize`` returned to be awaited; None if it is to be called yet.
    """

    wait: Callable[[], Awaitable[bool | None]]
    handed: Awaitable[object] | None = None

    def end(self) -> None:
        """Nobody waits any more, perhaps before anybody began to."""
        if isinstance(self.handed, Coroutine):
            self.handed.close()
        elif isinstance(self.handed, asyncio.Future):
            self.handed.cancel()


class Rights:
    """The ``authorize`` functions of a node's entities; whatever goes wrong in one means no.

    Attributes:
        places: bounds how many questions the application is asked at once, of this kind, and who everybody
            is after a gap.
    """

    def __init__(self, catalog: Catalog, clock: Clock, settings: Settings) -> None:
        self.places = asyncio.Semaphore(settings.max_questions)
        self._catalog = catalog
        self._clock = clock
        self._settings = settings
        self._failures = 0
        self._unshared = 0
        self._context = copy_context()  # of whoever starts the node

    def apart(self, decide: Callable[[], None]) -> None:
        """Call it, and whatever tasks and timers it starts, in the context variables of whoever started the
        node: what somebody may see does not depend on whose request makes us ask, nor on an earlier question.
        """
        self._context.copy().run(decide)

    def guards(self, entity: str) -> bool:
        """Whether there is anything to ask about keys of this entity."""
        return self._catalog[entity].authorize is not None

    def ask(self, principal: object, key: EntityKey) -> bool | Question | None:
        """The answer, None if it failed, or what waits for it."""
        authorize: Any = self._catalog[key.entity].authorize
        assert authorize is not None
        if is_async(authorize):
            return Question(partial(self._wait, key, partial(authorize, principal, key)))
        try:
            answer = authorize(principal, key)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - the application may raise anything
            return self._failed(key, error)
        if inspect.isawaitable(answer):
            return Question(partial(self._wait, key, lambda: answer), answer)
        return self._read(key, answer)

    async def _wait(self, key: EntityKey, answer: Callable[[], Awaitable[object]]) -> bool | None:
        async with self.places:
            try:
                async with timeout(self._clock, self._settings.authenticate_timeout):
                    return self._read(key, await answer())
            except TimeoutError as error:
                return self._failed(key, error)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError) and is_cancelled():
                    raise
                return self._failed(key, error)

    def cancelled(self, key: EntityKey) -> None:
        """A question ended without an answer, though nobody told it to."""
        self._note(key, "it cancelled its own task")

    def _read(self, key: EntityKey, answer: object) -> bool | None:
        if isinstance(answer, bool):
            return answer
        self._note(key, f"it returned a {type(answer).__name__}, not a bool")
        return None

    def _failed(self, key: EntityKey, error: BaseException) -> bool | None:
        if isinstance(error, AccessDenied):
            return False
        self._note(key, f"{placed(error)} (its text is logged at DEBUG)")
        _log.debug("authorize of %s raised", key, exc_info=error)  # its text may hold a secret
        return None

    def _note(self, key: EntityKey, what: str) -> None:
        self._failures += 1
        if self._failures.bit_count() == 1:  # 1, 2, 4, 8 …: an outage cannot fill the log
            _log.warning("authorize of %s failed, which denies it: %s", key, what)

    def unshared(self, key: EntityKey, error: AccessDenied) -> None:
        """There is no audience for a principal; ``per`` may have been given its secret."""
        self._unshared += 1
        if self._unshared.bit_count() == 1:  # a client asks for as many keys as it likes
            _log.warning("%s is denied: %s", key, error)
        _log.debug("%s is denied", key, exc_info=error.__cause__)
