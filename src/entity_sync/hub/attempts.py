"""Calling the application's load functions: for a bounded time, and plain ones in bounded threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from entity_sync.clock import Clock, timeout
from entity_sync.errors import LoadFailed, described
from entity_sync.hub.parting import Outcome, Parting
from entity_sync.hub.threads import Threads
from entity_sync.loading.catalog import Catalog
from entity_sync.loading.loader import Loader
from entity_sync.model import Audience, EntityKey
from entity_sync.settings import Settings

__all__ = ["Attempts", "Outcome"]

_Result = TypeVar("_Result")


class Attempts:
    """One call of a load function after the other, whatever the function does."""

    def __init__(self, catalog: Catalog, clock: Clock, settings: Settings) -> None:
        self._catalog = catalog
        self._clock = clock
        self._settings = settings
        self._parting = Parting(clock)
        self._abandoned: dict[str, int] = {}
        self._returns: dict[str, asyncio.Event] = {}
        most = settings.max_loads + settings.max_entity_loads * len(catalog.names)
        self._threads = Threads(most, "entity-sync-load")

    def close(self) -> None:
        """Start nothing more; plain functions that run in threads end by themselves."""
        self._threads.close()

    async def load(
        self, loader: Loader, keys: Sequence[EntityKey], audience: Audience, tried: int = 0
    ) -> list[Outcome]:
        """What became of each key, in their order.

        Args:
            tried: attempts so far that gave nothing.
        """
        if loader.batch is None:
            return [await self._alone(loader, key, audience) for key in keys]
        together = partial(self._together, loader, audience)
        try:
            found = await together(keys)
        except LoadFailed as error:
            if len(keys) == 1:
                return [error]
            found = await self._parting.outcomes(together, keys, error, tried=tried, most=loader.timeout)
        return [found[key] for key in keys]

    async def _alone(self, loader: Loader, key: EntityKey, audience: Audience) -> Outcome:
        load = partial(loader.load, key, audience, partial(self._in_thread, loader.name), self._catalog.row)
        try:
            return await self._bounded(loader, partial(load, most=self._settings.max_view_bytes))
        except LoadFailed as error:
            return error

    async def _together(
        self, loader: Loader, audience: Audience, keys: Sequence[EntityKey]
    ) -> dict[EntityKey, Outcome]:
        load = partial(
            loader.load_batch, keys, audience, partial(self._in_thread, loader.name), self._catalog.row
        )
        most = self._settings.max_view_bytes
        results = await self._bounded(loader, partial(load, most=most))
        return dict(zip(keys, results, strict=True))

    async def _bounded(self, loader: Loader, call: Callable[[], Awaitable[_Result]]) -> _Result:
        """The result, or LoadFailed: the function may raise, cancel or swallow what it likes."""
        task = asyncio.current_task()
        assert task is not None
        try:
            async with timeout(self._clock, loader.timeout):
                result = await _raising_failures(call, task)
        except TimeoutError:
            why = ": loads that never returned hold every thread it may have" * self._is_held(loader.name)
            raise LoadFailed(f"no result within {loader.timeout:g} s{why}", retryable=True) from None
        except (LoadFailed, asyncio.CancelledError) as error:
            if task.cancelling():  # nobody watches any more, or the node closes
                raise asyncio.CancelledError from error
            if isinstance(error, LoadFailed):
                raise
            raise LoadFailed(described(error), retryable=True) from error
        if task.cancelling():
            raise asyncio.CancelledError
        return result

    async def _in_thread(self, entity: str, function: Callable[..., Any], *arguments: object) -> Any:
        """Run a plain function; those that outlive their attempts can take only so many threads."""
        while self._is_held(entity):
            await self._returns.setdefault(entity, asyncio.Event()).wait()
        future = self._threads.submit(_call, function, *arguments)
        try:
            return await asyncio.wrap_future(future)
        finally:
            if not future.cancel() and not future.done():
                self._abandoned[entity] = self._abandoned.get(entity, 0) + 1
                loop = asyncio.get_running_loop()
                future.add_done_callback(lambda _future: self._returned(entity, loop))

    def _is_held(self, entity: str) -> bool:
        """Whether loads that nobody waits for any more have all the threads that this entity may have."""
        return self._abandoned.get(entity, 0) >= self._settings.max_entity_loads

    def _returned(self, entity: str, loop: asyncio.AbstractEventLoop) -> None:
        def forget() -> None:
            self._abandoned[entity] -= 1
            if (returned := self._returns.pop(entity, None)) is not None:
                returned.set()

        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(forget)


async def _raising_failures(call: Callable[[], Awaitable[_Result]], task: asyncio.Task[Any]) -> _Result:
    try:
        return await call()
    except (LoadFailed, asyncio.CancelledError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        if isinstance(error, GeneratorExit) and not _is_running(task):
            raise  # not the function's: the loop is gone, and so is whoever waits
        raise LoadFailed(described(error), retryable=True) from error


def _is_running(task: asyncio.Task[Any]) -> bool:
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # no loop runs
        return False


def _call(function: Callable[..., Any], *arguments: object) -> Any:
    try:
        return function(*arguments)
    except (StopIteration, GeneratorExit) as error:  # no future can hold the one, no task outlives the other
        raise RuntimeError(f"the loader raised {type(error).__name__}") from error
