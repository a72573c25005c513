"""What a broker is put through for minutes, with the timings that applications have."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import TypeAlias

from entity_sync import Settings
from tests.faults.burst import burst
from tests.faults.cell import HEALS, KINDS
from tests.faults.world import World
from tests.support.servers import SERVERS, Server

__all__ = ["TRIALS", "Result", "Trial"]

_USUAL = replace(Settings(), classic_snapshot=True)
_TOLD = 15.0  # seconds within which clients must be told that nothing comes
_BACK = 5.0  # seconds from a frozen broker's return until all must be true
_FROZEN = 30.0
_KILL_INTERVAL = 5.0
_IDS = [f"{number}" for number in range(50)]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a trial.

    Attributes:
        holds: every bound was kept.
        text: the figures, for the table.
        details: what broke a promise.
    """

    holds: bool
    text: str
    details: tuple[str, ...] = ()


_Run: TypeAlias = Callable[[AsyncExitStack, str, Server, float, int], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Trial:
    """One column of the table."""

    title: str
    run: _Run

    async def on(self, name: str, directory: Path, seconds: float, seed: int) -> Result:
        """
        Args:
            name: of one of `KINDS`.
            directory: the server's.
            seconds: that the kills last.
        """
        server = SERVERS[KINDS[name].scheme](directory)
        try:
            async with AsyncExitStack() as stack:
                return await self.run(stack, name, server, seconds, seed)
        except (AssertionError, TimeoutError) as error:
            return Result(holds=False, text="**failed**", details=(repr(error),))
        finally:
            await server.stop()


def _world(name: str, server: Server, seed: int) -> World:
    url = KINDS[name].url(server, server.port)
    return World([url, url], _IDS, seed=f"{seed} {name}", settings=_USUAL, silence=_TOLD + 1.0)


async def _kills(stack: AsyncExitStack, name: str, server: Server, seconds: float, seed: int) -> Result:
    await server.start()
    world = await stack.enter_async_context(_world(name, server, seed))
    await world.settle(HEALS)
    writing = asyncio.get_running_loop().create_task(world.write(inf, 100.0, _IDS))
    stack.callback(writing.cancel)
    kills = max(1, round(seconds / _KILL_INTERVAL))
    for _ in range(kills):
        await asyncio.sleep(_KILL_INTERVAL)
        server.kill()
        await server.start()
    writing.cancel()
    commits = sum(world.truth.values())
    try:
        healed = f"all true {await world.settle(HEALS):.1f} s after the last"
    except AssertionError as error:
        healed = f"{error}"
    stale = len(world.stale_views)
    views = len(world.viewers) * len(_IDS)
    text = f"{stale} stale of {views} views after {commits:,} commits and {kills} kills; {healed}"
    return Result(not stale and not world.violations, text, tuple(world.violations))


async def _freeze(stack: AsyncExitStack, name: str, server: Server, _seconds: float, seed: int) -> Result:
    await server.start()
    world = await stack.enter_async_context(_world(name, server, seed))
    await world.settle(HEALS)
    loop = asyncio.get_running_loop()
    writing = loop.create_task(world.write(_FROZEN, 20.0, _IDS))
    stack.callback(writing.cancel)
    server.freeze()
    frozen = loop.time()
    stack.callback(server.thaw)
    told = await world.told_stale(_FROZEN, (0, 1))
    await asyncio.sleep(max(0.0, frozen + _FROZEN - loop.time()))
    server.thaw()
    thawed = loop.time()
    await writing
    await world.settle(2 * HEALS)
    healed = loop.time() - thawed
    holds = told <= _TOLD and healed <= _BACK and not world.violations
    return Result(
        holds, f"told after {told:.1f} s, true {healed:.1f} s after its return", tuple(world.violations)
    )


async def _absent(stack: AsyncExitStack, name: str, server: Server, _seconds: float, seed: int) -> Result:
    async with asyncio.timeout(HEALS):
        world = await stack.enter_async_context(_world(name, server, seed))
    told = await world.told_stale(_TOLD, (0, 1))
    await world.write(5.0, 20.0, _IDS)
    await server.start()
    healed = await world.settle(HEALS)
    holds = told <= _TOLD and not world.violations
    return Result(
        holds, f"told within {told:.1f} s, live {healed:.1f} s after it came", tuple(world.violations)
    )


async def _keys(_stack: AsyncExitStack, name: str, server: Server, _seconds: float, seed: int) -> Result:
    await server.start()
    outcome = await burst(KINDS[name].url(server, server.port), f"{seed} {name}")
    return Result(outcome.holds, str(outcome), tuple(outcome.violations))


TRIALS = {
    "kills": Trial("SIGKILL and restart every 5 s, 100 commits a second on two nodes", _kills),
    "freeze": Trial("SIGSTOP for 30 s", _freeze),
    "absent": Trial("absent when the nodes start", _absent),
    "keys": Trial("100,000 keys of one `Publisher`", _keys),
}
"""In the order of the table's columns."""
