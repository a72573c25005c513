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

__all__ = ["HEALS", "KINDS", "TELLS", "Kind", "Outcome", "endure"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A broker, and in which of several ways it is used.

    Attributes:
        program: what its server is.
        query: of the URL.
        resumes: its adapter makes up for what a lost connection missed, and need not tell of it.
    """

    scheme: str
    program: str
    query: str = ""
    resumes: bool = False

    def url(self, server: Server, port: int) -> str:
        """Where nodes find the server behind a port; PostgreSQL's clients are not to ask for TLS first."""
        parts = urlsplit(server.url)
        place = f"{parts.netloc.rpartition(':')[0]}:{port}"
        query = "&".join(filter(None, (self.query, "sslmode=disable" * (self.scheme == "postgresql"))))
        return urlunsplit(parts._replace(netloc=place, query=query))


KINDS = {
    "nsq": Kind("nsq", "nsqd"),
    "nats": Kind("nats", "nats-server"),
    "redis": Kind("redis", "redis-server"),
    "postgresql": Kind("postgresql", "postgres"),
    "redis-stream": Kind("redis", "redis-server", "mode=stream", resumes=True),
    "postgresql-psycopg": Kind("postgresql", "postgres", "driver=psycopg"),
}
"""Every way in which nodes can be joined by a server, by its name in reports."""

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


async def endure(name: str, server: Server, fault: Fault, seed: object) -> Outcome:
    """Let two nodes live through a fault.

    Args:
        name: of one of `KINDS`.

    Raises:
        AssertionError: a promise was broken; it says which, with the broker, the fault and the seed.
    """
    try:
        async with AsyncExitStack() as stack:
            return await _endure(stack, KINDS[name], server, fault, f"{seed} {name} {fault.name}")
    except (AssertionError, TimeoutError) as error:
        raise AssertionError(f"{fault.name} on {name}, seed {seed}: {str(error) or 'too late'}") from error


async def _endure(stack: AsyncExitStack, kind: Kind, server: Server, fault: Fault, seed: str) -> Outcome:
    random = Random(seed)
    proxies = [
        await stack.enter_async_context(Proxy(server.port, random, SPLITTERS[kind.scheme])) for _ in range(2)
    ]
    urls = [kind.url(server, proxy.port) for proxy in proxies]
    world = World(urls, _DURING + _AFTER, seed=seed, takes_noise=fault.is_noise)
    scene = Scene(kind.scheme, server, proxies, world.topics, random)
    told: float | None = None
    async with AsyncExitStack() as lasting:
        if fault.at_start:
            await lasting.enter_async_context(fault.inflict(scene))
        async with asyncio.timeout(_STARTS):
            await stack.enter_async_context(world)
        if not fault.at_start:
            await world.settle(_STARTS)
            await world.write(0.1, _RATE, _DURING + _AFTER)
            for viewer in world.viewers:
                viewer.was_stale = 0
            await lasting.enter_async_context(fault.inflict(scene))
        await world.write(fault.seconds, _RATE, _DURING + _AFTER)
        if fault.silences:
            told = await world.told_stale(TELLS, fault.silences)
            await world.write(0.05, _RATE, _DURING)
    await world.write(0.1, _RATE, _AFTER)
    healed = await world.settle(HEALS)
    assert _has_happened(fault, kind, world), "the fault had no effect"
    await stack.aclose()
    assert not world.violations, "\n  ".join(world.violations)
    return Outcome(told, healed)


def _has_happened(fault: Fault, kind: Kind, world: World) -> bool:
    link = world.nodes[0].node.link
    match fault.effect:
        case "breaks":
            return kind.resumes or all(
                viewer.was_stale for viewer in world.viewers if viewer.wire == "v2" and viewer.node == 0
            )
        case "loses":
            return link.gaps.count > 0
        case "forges":
            return link.dropped > 0
        case None:
            return True
