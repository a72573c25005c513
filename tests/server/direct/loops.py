"""Both event loops that the direct door runs on, for the tests that open sockets."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec

__all__ = ["pytest_asyncio_loop_factories"]


def pytest_asyncio_loop_factories(config, item):
    """Run each asynchronous test on asyncio's own loop, and on uvloop where it is installed."""
    factories = {"asyncio": asyncio.new_event_loop}
    if find_spec("uvloop"):
        from uvloop import new_event_loop

        factories["uvloop"] = new_event_loop
    return factories
