"""One fault on one broker: two nodes, their clients, commits before, during and after, and the verdict."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random
from urllib.parse import urlsplit, urlunsplit

from tests.faults.faults import Fault, Scene
from tests.faults.frames import SPLITTERS
from tests.faults.proxy import Proxy
from tests.faults.world import World
from tests.support.servers import Server

__all__ = ["HEALS", "TELLS", "Outcome", "endure", "through"]

HEALS = 10.0
"""Seconds after the end of a fault within which everything shown must be true."""
TELLS = 4.0
"""Seconds within which the clients must be told that nothing comes, with the timings of the short form."""
_STARTS = 10.0
_RATE = 50.0  # commits a second
_DURING = [f"during {number}" for number in range(4)]  # change last in the fault
_AFTER = [f"after {number}" for number in range(4)]  # change after it too


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went: seconds until the clients were told, if they had to be, and until all was true."""

    told: float | None
    healed: float


async def endure(scheme: str, server: Server, fault: Fault, seed: object) -> Outcome:
    """Let two nodes live through a fault.

    Raises:
        AssertionError: a promise was broken; it says which, with the broker, the fault and the seed.
    """
    try:
        async with AsyncExitStack() as stack:
            return await _endure(stack, scheme, server, fault, f"{seed} {scheme} {fault.name}")
    except (AssertionError, TimeoutError) as error:
        raise AssertionError(f"{fault.name} on {scheme}, seed {seed}: {error}") from error


async def _endure(stack: AsyncExitStack, scheme: str, server: Server, fault: Fault, seed: str) -> Outcome:
    random = Random(seed)
    proxies = [
        await stack.enter_async_context(Proxy(server.port, random, SPLITTERS[scheme])) for _ in range(2)
    ]
    urls = [through(server.url, proxy.port) for proxy in proxies]
    world = World(urls, _DURING + _AFTER, seed=seed)
    scene = Scene(scheme, server, proxies, world.topics, random)
    told: float | None = None
    async with AsyncExitStack() as lasting:
        if fault.at_start:
            await lasting.enter_async_context(fault.inflict(scene))
        async with asyncio.timeout(_STARTS):
            await stack.enter_async_context(world)
        if not fault.at_start:
            await world.settle(_STARTS)
            await world.write(0.1, _RATE, _DURING + _AFTER)
            await lasting.enter_async_context(fault.inflict(scene))
        await world.write(fault.seconds, _RATE, _DURING + _AFTER)
        if fault.silences:
            told = await world.told_stale(TELLS, fault.silences)
            await world.write(0.05, _RATE, _DURING)
    await world.write(0.1, _RATE, _AFTER)
    healed = await world.settle(HEALS)
    await stack.aclose()
    assert not world.violations, "\n  ".join(world.violations)
    return Outcome(told, healed)


def through(url: str, port: int) -> str:
    """The same server behind another port; PostgreSQL's clients are not to ask for TLS first."""
    parts = urlsplit(url)
    place = f"{parts.netloc.rpartition(':')[0]}:{port}"
    query = "sslmode=disable" if parts.scheme == "postgresql" else parts.query
    return urlunsplit(parts._replace(netloc=place, query=query))
