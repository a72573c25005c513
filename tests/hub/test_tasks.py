"""Background tasks."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, copy_context
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


async def test_whose_variables_a_task_sees():
    """Those of its owner, where it has any, or those that it is given: a copy, whoever starts it."""
    caller, seen = ContextVar("caller", default="nobody"), list[str]()
    owner = copy_context()
    owner.run(caller.set, "the owner")

    async def run(name: str) -> None:
        seen.append(caller.get())
        caller.set(name)

    caller.set("the caller")
    owned = Tasks(owner)
    for _ in range(2):
        await owned.start(run("a task"))
    given = copy_context()
    given.run(caller.set, "somebody else")
    await owned.start(run("a task"), given)
    await Tasks().start(run("a task"))
    assert seen == ["the owner", "the owner", "somebody else", "the caller"]
    assert caller.get() == "the caller"
