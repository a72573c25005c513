"""What notices changes that nobody notified."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from typing import Protocol

from entity_sync.clock import Clock, is_cancelled
from entity_sync.errors import ConfigurationError, described
from entity_sync.settings import Settings

__all__ = ["Capture", "capturing", "check_entities"]

_log = logging.getLogger("entity_sync.capture")


class Capture(Protocol):
    """Notices changes that nobody notified.

    One that is about some entities alone may name them in an attribute ``entities``, which is checked as the
    application starts.
    """

    def watch(self, clock: Clock) -> AsyncIterator[Collection[str] | None]:
        """Yield the entities whose views may have changed (None: all), until closed.

        Should it raise, it is called again some moments later, and what it is about is loaded again once it
        has run up to its first wait. One that begins to notice later than that yields when it does.
        """
        ...


def check_entities(capture: Capture, known: Collection[str]) -> None:
    """The entities that it names, if it does, are known.

    Raises:
        ConfigurationError: one is not.
    """
    if unknown := [entity for entity in _entities_of(capture) or () if entity not in known]:
        raise ConfigurationError(
            f"a {type(capture).__name__} is about {', '.join(map(repr, unknown))}, which no entity and no "
            f"rows= is called; known are {', '.join(map(repr, sorted(known))) or 'none'}"
        )


async def capturing(
    capture: Capture, resync: Callable[[Collection[str] | None], None], clock: Clock, settings: Settings
) -> None:
    """Watch, and begin again whenever that fails.

    Args:
        resync: loads the views of these entities again.
    """
    failures = 0
    while True:
        began = clock.now()
        # Not before it has begun to watch; then what changed after these loads is noticed.
        again = asyncio.get_running_loop().call_soon(resync, _entities_of(capture)) if failures else None
        try:
            async for entities in capture.watch(clock):
                resync(entities)
            return
        except (Exception, asyncio.CancelledError) as error:
            if again is not None:
                again.cancel()
            if isinstance(error, asyncio.CancelledError) and is_cancelled():
                raise
            failures = 1 if clock.now() - began >= settings.max_retry_delay else failures + 1
            if failures.bit_count() == 1:  # 1, 2, 4, 8 …: an outage cannot fill the log
                what = described(error)
                _log.warning("%s failed, and begins again: %s", type(capture).__name__, what, exc_info=error)
        await clock.sleep(settings.retry_after(failures))


def _entities_of(capture: Capture) -> Collection[str] | None:
    """The entities that it is about; None for all."""
    return getattr(capture, "entities", None)
