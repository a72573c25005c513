"""The clock that a test moves."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync.clock import SystemClock, is_cancelled, timeout
from entity_sync.testing import FakeClock
from tests.simulation.loop import run


async def test_stands_still(entity_sync_clock: FakeClock):
    """Time passes only by `advance`, and the plugin's fixture is such a clock."""
    assert entity_sync_clock.now() == 0.0
    await asyncio.sleep(0)
    assert entity_sync_clock.now() == 0.0
    await entity_sync_clock.advance(2.5)
    assert entity_sync_clock.now() == 2.5


async def test_sleep():
    """A sleep ends when its time has come, not earlier, and sees that time."""
    clock = FakeClock()

    async def sleeper() -> float:
        await clock.sleep(2.0)
        return clock.now()

    task = asyncio.create_task(sleeper())
    await clock.advance(1.9)
    assert not task.done()
    await clock.advance(5.0)
    assert task.result() == 2.0


async def test_sleep_of_nothing_and_cancelled_sleep():
    """A sleep of 0 lets others run; a cancelled sleep is forgotten."""
    clock = FakeClock()
    order: list[str] = []

    async def other() -> None:
        order.append("other")

    task = asyncio.create_task(other())
    await clock.sleep(0)
    order.append("slept")
    await task
    assert order == ["other", "slept"]
    sleeping = asyncio.create_task(clock.sleep(1.0))
    await clock.advance(0)
    sleeping.cancel()
    await clock.advance(2.0)
    assert sleeping.cancelled()


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 10), st.booleans()), max_size=20))
def test_calls_in_order(timers: list[tuple[float, bool]]):
    """Calls happen in the order of their times, equal ones as they were made, cancelled ones never."""

    async def main() -> None:
        clock = FakeClock()
        called: list[tuple[float, int]] = []
        for number, (seconds, is_dropped) in enumerate(timers):
            timer = clock.call_later(seconds, partial(called.append, (seconds, number)))
            if is_dropped:
                timer.cancel()
        await clock.advance(10.0)
        expected = [(seconds, n) for n, (seconds, is_dropped) in enumerate(timers) if not is_dropped]
        assert called == sorted(expected)

    run(main())


async def test_call_at_once():
    """A call after 0 seconds happens at the loop's next turn, unless it is cancelled before."""
    clock = FakeClock()
    called: list[int] = []
    clock.call_later(0, lambda: called.append(1))
    clock.call_later(-1, lambda: called.append(2)).cancel()
    assert called == []
    await asyncio.sleep(0)
    assert called == [1]


async def test_what_becomes_due_meanwhile():
    """A timer made by a timer is due within the same advance, at its own time."""
    clock = FakeClock()
    times: list[float] = []

    def tick() -> None:
        times.append(clock.now())
        clock.call_later(1.0, tick)

    clock.call_later(1.0, tick)
    await clock.advance(3.5)
    assert times == [1.0, 2.0, 3.0]


def test_system_clock_is_the_loops():
    """The clock of a running node is its loop's own, so that a loop with virtual time brings one along."""

    async def main() -> None:
        clock, loop = SystemClock(), asyncio.get_running_loop()
        called: list[float] = []
        clock.call_later(60.0, lambda: called.append(clock.now()))
        clock.call_later(30.0, lambda: called.append(-1)).cancel()
        await clock.sleep(100.0)
        assert called == [60.0]
        assert clock.now() == loop.time() == 100.0

    run(main())


async def test_timeout_beside_another_cancellation():
    """A task that is being cancelled can still have a timeout; one whose body made something else of it does
    not stay cancelled."""
    clock = FakeClock()

    async def waits() -> None:
        with pytest.raises(TimeoutError):
            async with timeout(clock, 1.0):
                await asyncio.Event().wait()

    async def cleans_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await waits()

    async def translates() -> None:
        async def fails() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ZeroDivisionError from None

        with pytest.raises(ZeroDivisionError):
            async with timeout(clock, 1.0):
                await fails()
        await waits()

    cleaning, translating = asyncio.create_task(cleans_up()), asyncio.create_task(translates())
    await asyncio.sleep(0)
    cleaning.cancel()
    await clock.advance(1.0)
    await clock.advance(1.0)
    with pytest.raises(asyncio.CancelledError):
        await cleaning
    await translating


@pytest.mark.parametrize("error", [None, ZeroDivisionError, GeneratorExit, StopAsyncIteration])
async def test_timeout_that_is_swallowed(error: type[BaseException] | None):
    """Whatever the body made of it passes, and nothing later takes it for a cancellation from outside."""
    clock = FakeClock()

    async def main() -> int:
        task = asyncio.current_task()
        assert task is not None
        with suppress(*([error] if error else [])):
            async with timeout(clock, 1.0):
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
                if error is not None:
                    raise error
        return task.cancelling()

    task = asyncio.create_task(main())
    await clock.advance(1.0)
    assert await task == 0


async def test_is_cancelled():
    """From outside it is; where what is awaited cancelled itself it is not."""
    seen: list[bool] = []

    async def main(inner: asyncio.Future[None]) -> None:
        try:
            await inner
        except asyncio.CancelledError:
            seen.append(is_cancelled())

    inner = asyncio.get_running_loop().create_future()
    inner.cancel()
    await main(inner)
    task = asyncio.create_task(main(asyncio.get_running_loop().create_future()))
    await asyncio.sleep(0)
    task.cancel()
    await task
    assert seen == [False, True]
