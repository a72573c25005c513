"""Calling the application's load functions: for a bounded time, and plain ones in bounded threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from entity_sync.clock import Clock
from entity_sync.errors import LoadFailed, described
from entity_sync.hub.abandoned import Abandoned
from entity_sync.hub.parting import Outcome, Parting, TimedOut
from entity_sync.hub.tasks import ends, lazily
from entity_sync.hub.threads import Threads
from entity_sync.hub.turns import Turns
from entity_sync.loading.catalog import Catalog
from entity_sync.loading.loader import Loader
from entity_sync.loading.slices import Pause
from entity_sync.model import Audience, EntityKey
from entity_sync.settings import Settings

__all__ = ["Attempts", "Outcome"]

_Result = TypeVar("_Result")
_MOST_TIMEOUTS = 10
"""For as many timeouts after its beginning an attempt begins calls: one may be halved down to single keys."""


class Attempts:
    """One call of a load function after the other, whatever the function does."""

    def __init__(
        self,
        catalog: Catalog,
        clock: Clock,
        settings: Settings,
        *,
        stuck: Callable[[str], None],
        freed: Callable[[], None],
    ) -> None:
        """
        Args:
            stuck: called where calls that never end hold all places of an entity.
            freed: called when one of them has ended.
        """
        self._known = catalog.row
        self._context = copy_context()  # of whoever starts the node: a load is for all who watch
        self._clock = clock
        self._settings = settings
        self._parting = Parting(clock)
        self._turns = Turns()
        self._abandoned = Abandoned(
            clock,
            settings.max_entity_loads,
            lambda entity: catalog[entity].timeout,
            stuck=stuck,
            freed=freed,
        )
        most = settings.max_loads + settings.max_entity_loads * len(catalog.names)
        self._threads = Threads(most, "entity-sync-load")

    async def close(self) -> None:
        """Start nothing more, and return when what was cancelled has ended, after a bounded time."""
        self._threads.close()
        await self._abandoned.close(self._settings.drain_timeout)

    def left(self, entity: str) -> int:
        """How many calls for this entity have been given up and have not ended; each keeps a place."""
        return self._abandoned.count(entity)

    def is_stuck(self, entity: str) -> bool:
        """Whether they hold all its places, and `stuck` has told so."""
        return self._abandoned.is_stuck(entity)

    async def load(
        self, loader: Loader, keys: Sequence[EntityKey], audience: Audience, tried: int = 0
    ) -> list[Outcome]:
        """What became of each key, in their order.

        Args:
            tried: attempts so far that gave nothing.
        """
        began = self._clock.now()
        try:
            if loader.batch is None:
                (key,) = keys
                return [await self._apart(loader, loader.load, key, audience)]
            found = await self._together(loader, audience, keys)
        except LoadFailed as error:
            if len(keys) == 1:
                return [error]
            again = partial(self._together, loader, audience)
            # Once its failure has been told, an attempt may take longer to find good keys among bad ones.
            share = min(max(1, tried + 2 - self._settings.load_attempts), _MOST_TIMEOUTS)
            until = began + loader.timeout * share
            found = await self._parting.outcomes(again, keys, error, tried=tried, until=until)
        return [found[key] for key in keys]

    async def _together(
        self, loader: Loader, audience: Audience, keys: Sequence[EntityKey]
    ) -> dict[EntityKey, Outcome]:
        results = await self._apart(loader, loader.load_batch, keys, audience)
        return dict(zip(keys, results, strict=True))

    async def _apart(
        self, loader: Loader, load: Callable[..., Awaitable[_Result]], what: object, audience: Audience
    ) -> _Result:
        """The result, or LoadFailed: the function may raise, cancel, swallow or wait for what it likes.

        In a task of its own: what the function makes of being cancelled is no matter of whoever waits. An
        `asyncio.TaskGroup` for example leaves its task looking cancelled (until Python 3.12.1).
        """
        most, pause = self._settings.max_view_bytes, self._turns.place()
        ended = _ended(load, what, audience, self._in_thread, self._known, most=most, pause=pause)
        task = lazily(ended, self._context.copy())
        try:
            is_over = await ends(task, self._clock, loader.timeout)
        finally:
            if not task.done():
                self._abandoned.add_task(loader.name, task)
        if not is_over:
            raise TimedOut(loader.timeout)
        if task.cancelled():
            raise LoadFailed("the load function cancelled its own task", retryable=True)
        result = task.result()
        if isinstance(result, LoadFailed):
            raise result
        return result

    async def _in_thread(self, entity: str, function: Callable[..., Any], *arguments: object) -> Any:
        """Run a plain function in a thread."""
        future = self._threads.submit(_call, function, *arguments)
        try:
            return await asyncio.wrap_future(future)
        finally:
            if not future.cancel() and not future.done():
                self._abandoned.add_thread(entity, future)


async def _ended(
    load: Callable[..., Awaitable[_Result]], *arguments: object, most: float, pause: Pause
) -> _Result | LoadFailed:
    """What became of a load, whatever it raises."""
    try:
        return await load(*arguments, most=most, pause=pause)
    except LoadFailed as error:
        return error
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a function may raise anything, at its cancellation too
        failed = LoadFailed(described(error), retryable=True)
        failed.__cause__ = error
        return failed


def _call(function: Callable[..., Any], *arguments: object) -> Any:
    try:
        return function(*arguments)
    except (StopIteration, GeneratorExit) as error:  # no future can hold the one, no task outlives the other
        raise RuntimeError(f"the loader raised {type(error).__name__}") from error
