"""What notices changes that nobody notified."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Protocol

from entity_sync.clock import Clock
from entity_sync.errors import ConfigurationError

__all__ = ["Capture", "check_entities"]


class Capture(Protocol):
    """Notices changes that nobody notified.

    One that is about some entities alone may name them in an attribute ``entities``, which is checked as the
    application starts.
    """

    def watch(self, clock: Clock) -> AsyncIterator[Collection[str] | None]:
        """Yield the entities whose views may have changed (None: all), until closed."""
        ...


def check_entities(capture: Capture, known: Collection[str]) -> None:
    """The entities that it names, if it does, are known.

    Raises:
        ConfigurationError: one is not.
    """
    if unknown := [entity for entity in entities_of(capture) or () if entity not in known]:
        raise ConfigurationError(
            f"a {type(capture).__name__} is about {', '.join(map(repr, unknown))}, which no entity and no "
            f"rows= is called; known are {', '.join(map(repr, sorted(known))) or 'none'}"
        )


def entities_of(capture: Capture) -> Collection[str] | None:
    """The entities that it is about; None for all."""
    return getattr(capture, "entities", None)
