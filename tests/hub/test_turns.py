"""One slice of long work in each turn of the loop, whoever's it is."""

from __future__ import annotations

import asyncio

from entity_sync.hub.turns import Turns


async def test_each_turn_of_the_loop_is_one_of_those_that_wait():
    """And whoever came first goes on until it has ended."""
    turns, ran = Turns(), list[str]()

    async def work(name: str) -> None:
        pause = turns.place()
        for _ in range(3):
            await pause()
            ran.append(name)

    tasks = [asyncio.create_task(work(name)) for name in "abc"]
    most = 0
    while not all(task.done() for task in tasks):
        before = len(ran)
        await asyncio.sleep(0)
        most = max(most, len(ran) - before)
    assert most == 1
    assert sorted(ran) == sorted("abcabcabc")
    assert [name for at, name in enumerate(ran) if name not in ran[at + 1 :]] == ["a", "b", "c"]


async def test_one_that_is_cancelled_keeps_nobody_waiting():
    """Whoever comes after it goes on, and it does not."""
    turns, ran = Turns(), list[str]()

    async def work(name: str) -> None:
        await turns.place()()
        ran.append(name)

    first, second = asyncio.create_task(work("a")), asyncio.create_task(work("b"))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait_for(second, 30)
    assert ran == ["b"]


async def test_a_turn_that_nobody_waits_for_any_more():
    """Whoever comes after it has a turn all the same."""
    turns = Turns()
    task = asyncio.ensure_future(turns.place()())
    await asyncio.sleep(0)
    task.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    await asyncio.wait_for(turns.place()(), 30)
