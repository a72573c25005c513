"""Tests of the hub in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.simulation.loop import run


def in_virtual_time(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Run a test where a second of sleep costs nothing and is exactly a second."""

    def wrapper() -> None:
        _, failures = run(test())  # type: ignore[arg-type]
        assert failures == []

    wrapper.__name__, wrapper.__doc__ = test.__name__, test.__doc__
    return wrapper
