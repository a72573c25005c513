"""Background tasks."""

from __future__ import annotations

import asyncio
from typing import Any

from entity_sync.hub.tasks import Tasks


async def test_a_task_begins_after_its_owner_noted_it():
    """Whatever factory the loop has: an eager one would run a task before `start` returned."""
    loop, made = asyncio.get_running_loop(), list[object]()

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options)

    loop.set_task_factory(factory)
    ran = False

    async def run() -> None:
        nonlocal ran
        ran = True

    task = Tasks().start(run())
    assert not ran
    await task
    assert ran
    assert made == []
