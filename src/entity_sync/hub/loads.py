"""Running loads: never two of one view at once, bounded in number, fair between entities."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

from entity_sync.clock import Clock, Timer
from entity_sync.core.loaded import Loaded
from entity_sync.core.loadstate import Cause, LoadAction
from entity_sync.core.view import View
from entity_sync.errors import LoadFailed
from entity_sync.loading.catalog import Catalog
from entity_sync.loading.loader import Loader
from entity_sync.settings import Settings

__all__ = ["Loads"]

_log = logging.getLogger("entity_sync.loads")


class Loads:
    """Starts the load a view needs, retries it, and tells `settled` what became of it.

    Attributes:
        ticket: the number of the newest attempt; a later attempt has a larger one.
    """

    def __init__(
        self,
        catalog: Catalog,
        clock: Clock,
        settings: Settings,
        random: Random,
        *,
        begun: Callable[[View], None],
        depend: Callable[[View, Loaded], bool],
        settled: Callable[[View, bool], None],
    ) -> None:
        """
        Args:
            begun: called as an attempt begins.
            depend: called with a result, to watch what it depends on; says whether some of that
                changed since the attempt began, so that another one must follow.
            settled: called with a view that has a result or a failure to be told, and with whether
                there is news for its subscriptions.
        """
        self.ticket = 0
        self._catalog = catalog
        self._clock = clock
        self._settings = settings
        self._random = random
        self._begun = begun
        self._depend = depend
        self._settled = settled
        self._waiting: dict[str, OrderedDict[View, None]] = {}
        self._running: dict[str, int] = {}
        self._total = 0
        self._tasks: dict[View, asyncio.Task[None]] = {}
        self._timers: dict[View, Timer] = {}
        self._abandoned: dict[str, int] = {}
        most = settings.max_loads + settings.max_entity_loads * len(catalog.names)
        self._threads = ThreadPoolExecutor(most, "entity-sync-load")

    @property
    def idle(self) -> bool:
        """Whether no load runs or waits for a place; one that waits for its retry does not count."""
        return not self._tasks and not any(self._waiting.values())

    def trigger(self, view: View, cause: Cause) -> None:
        """Have the view loaded by an attempt that begins after this call."""
        if view.trigger(cause, self._clock.now()) is LoadAction.ENQUEUE:
            self._enqueue(view)

    def drop(self, view: View) -> None:
        """Nobody watches the view any more: its load's place is for others."""
        task, timer = self._tasks.get(view), self._timers.pop(view, None)
        if timer is not None:
            timer.cancel()
        if task is not None:
            task.cancel()
        elif (queue := self._waiting.get(view.key.entity)) is not None:
            queue.pop(view, None)

    async def close(self) -> None:
        """Stop everything and return when it has stopped; plain functions in threads end by themselves."""
        self._waiting.clear()
        for timer in self._timers.values():
            timer.cancel()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _enqueue(self, view: View) -> None:
        self._waiting.setdefault(view.key.entity, OrderedDict())[view] = None
        self._fill()

    def _fill(self) -> None:
        """Start what there is room for, one of each waiting entity in turn."""
        progress = True
        while progress and self._total < self._settings.max_loads:
            progress = False
            for entity in [name for name, queue in self._waiting.items() if queue]:
                if self._running.get(entity, 0) < self._settings.max_entity_loads:
                    queue = self._waiting[entity] = self._waiting.pop(entity)  # to the end of the row
                    self._start(queue.popitem(last=False)[0])
                    progress = True
                if self._total >= self._settings.max_loads:
                    return

    def _start(self, view: View) -> None:
        entity = view.key.entity
        self.ticket += 1
        view.start(self.ticket)
        self._begun(view)
        self._total += 1
        self._running[entity] = self._running.get(entity, 0) + 1
        task = asyncio.get_running_loop().create_task(self._run(view, self._catalog[entity]))
        self._tasks[view] = task
        task.add_done_callback(lambda done: self._release(view, done))

    def _release(self, view: View, task: asyncio.Task[None]) -> None:
        if self._tasks.get(view) is task:
            del self._tasks[view]
        self._total -= 1
        self._running[view.key.entity] -= 1
        self._fill()

    async def _run(self, view: View, loader: Loader) -> None:
        try:
            result = await self._attempt(view, loader)
        except LoadFailed as error:
            del self._tasks[view]
            self._failed(view, error)
        else:
            del self._tasks[view]
            self._succeeded(view, result)

    async def _attempt(self, view: View, loader: Loader) -> Loaded:
        task = asyncio.current_task()
        assert task is not None
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            task.cancel()

        timer = self._clock.call_later(loader.timeout, expire)
        try:
            result = await loader.load(
                view.key, view.audience, partial(self._in_thread, loader.name), self._catalog.row
            )
        except (LoadFailed, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:
            if expired:
                task.uncancel()
            if task.cancelling():  # nobody watches any more, or the node closes
                raise asyncio.CancelledError from error
            if expired and isinstance(error, asyncio.CancelledError):
                raise LoadFailed(f"no result within {loader.timeout:g} s", retryable=True) from None
            raise LoadFailed(f"{type(error).__name__}: {error}", retryable=True) from error
        finally:
            timer.cancel()
        if result.size > self._settings.max_view_bytes:
            text = f"{result.size} bytes of rows, more than {self._settings.max_view_bytes}"
            raise LoadFailed(text, code="too_large")
        return result

    async def _in_thread(self, entity: str, function: Callable[..., Any], *arguments: object) -> Any:
        """Run a plain function; those that outlive their attempts can take only so many threads."""
        if self._abandoned.get(entity, 0) >= self._settings.max_entity_loads:
            raise LoadFailed("every thread it may have is held by a load that never returned", retryable=True)
        future = self._threads.submit(_call, function, *arguments)
        try:
            return await asyncio.wrap_future(future)
        finally:
            if not future.cancel() and not future.done():
                self._abandoned[entity] = self._abandoned.get(entity, 0) + 1
                loop = asyncio.get_running_loop()
                future.add_done_callback(lambda _future: self._returned(entity, loop))

    def _returned(self, entity: str, loop: asyncio.AbstractEventLoop) -> None:
        def forget() -> None:
            self._abandoned[entity] -= 1

        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(forget)

    def _succeeded(self, view: View, result: Loaded) -> None:
        if view.failure is not None:
            _log.info("load of %s succeeds again", view.key)
        is_overtaken = self._depend(view, result)
        news, action = view.succeed(result)
        self._settled(view, news)
        if action is LoadAction.ENQUEUE:
            self._enqueue(view)
        if is_overtaken:
            self.trigger(view, Cause.DEPENDENCY)

    def _failed(self, view: View, error: LoadFailed) -> None:
        settings = self._settings
        attempts = view.attempts + 1
        told = not error.retryable or attempts >= settings.load_attempts
        if told:
            self._note(view, error)
        if error.retryable:
            view.postpone()
            delay = min(settings.max_retry_delay, settings.retry_delay * 2 ** min(attempts - 1, 30))
            jittered = delay * self._random.uniform(0.5, 1.0)
            self._timers[view] = self._clock.call_later(jittered, lambda: self._retry(view))
        elif view.give_up() is LoadAction.ENQUEUE:
            self._enqueue(view)
        if told:
            self._settled(view, True)

    def _note(self, view: View, error: LoadFailed) -> None:
        if view.failure is None:
            _log.warning("load of %s failed: %s", view.key, error, exc_info=error.__cause__)
        view.failure = view.failure_frame(error.code, str(error), self._clock.now())

    def _retry(self, view: View) -> None:
        del self._timers[view]
        self._enqueue(view)


def _call(function: Callable[..., Any], *arguments: object) -> Any:
    try:
        return function(*arguments)
    except StopIteration as error:
        raise RuntimeError("the loader raised StopIteration") from error  # no future can hold that one
