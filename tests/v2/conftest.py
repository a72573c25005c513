from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
async def nothing_reaches_the_loop() -> AsyncIterator[None]:
    """Whatever a client sends, the event loop's exception handler hears of nothing."""
    found: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: found.append(context))
    yield
    assert found == []
