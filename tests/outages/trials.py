"""What the long form does to a broker."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from entity_sync import EntitySync, Settings
from entity_sync.hub.hub import Hub
from entity_sync.model import EntityKey
from tests.outages.world import world
from tests.support.servers import SERVERS, running

__all__ = ["TRIALS", "Outcome", "Trial"]

_KEYS = 100_000
_MAX_GROWTH = 64  # MiB


@dataclass(frozen=True)
class Outcome:
    """Whether the bounds held, and the figures."""

    holds: bool
    text: str


@dataclass(frozen=True)
class Trial:
    title: str
    run: Callable[[str, Path, float, int], Coroutine[Any, Any, Outcome]]


async def kills(scheme: str, directory: Path, seconds: float, seed: int) -> Outcome:
    """SIGKILL and restart every five seconds, under 100 commits a second through two nodes."""
    async with (
        running(scheme, directory) as server,
        world(server.url, server.url, settings=Settings(), seed=seed, keys=50) as found,
    ):
        async with found.commits(per_second=100):
            for _ in range(max(1, round(seconds / 5.0))):
                await asyncio.sleep(5.0)
                server.kill()
                await server.start()
        healed = await found.until(found.is_true, 10.0)
        stale, backwards = len(found.stale_views), len(found.violations)
        commits = sum(found.receipts.values())
        text = f"{stale} stale of {3 * 50} views after {commits:,} commits; all true {_told(healed)} later"
        return Outcome(
            stale == 0 and backwards == 0, text + (f"; {backwards} BACKWARDS" if backwards else "")
        )


async def frozen(scheme: str, directory: Path, _seconds: float, seed: int) -> Outcome:
    """SIGSTOP for 30 seconds under commits."""
    async with (
        running(scheme, directory) as server,
        world(server.url, server.url, settings=Settings(), seed=seed, keys=50) as found,
    ):
        loop = asyncio.get_running_loop()
        v2 = [watcher for watcher in found.watchers if watcher.name.startswith("v2")]
        async with found.commits(per_second=20):
            server.freeze()
            struck = loop.time()
            told = await found.until(lambda: all(watcher.was_stale.is_set() for watcher in v2), 30.0)
            await asyncio.sleep(max(0.0, struck + 30.0 - loop.time()))
            server.thaw()
        healed = await found.until(found.is_true, 10.0)
        text = f"told stale after {_told(told)}, true {_told(healed)} after its return"
        return Outcome(told <= 15.0 and healed <= 5.0 and not found.violations, text)


async def absent(scheme: str, directory: Path, _seconds: float, seed: int) -> Outcome:
    """The broker comes ten seconds after the nodes."""
    server = SERVERS[scheme](directory)
    try:
        async with world(
            server.url, server.url, settings=Settings(), seed=seed, keys=50, is_started=False
        ) as found:
            async with found.commits(per_second=20):
                await asyncio.sleep(10.0)
                await server.start()
            healed = await found.until(found.is_true, 10.0)
            return Outcome(healed <= 10.0 and not found.violations, f"live {_told(healed)} after it came")
    finally:
        await server.stop()


async def many_keys(scheme: str, directory: Path, _seconds: float, seed: int) -> Outcome:
    """100,000 keys of one Publisher, in a process of its own, to two nodes."""
    heard: dict[Hub, set[str]] = {}

    def changed(self: Hub, key: EntityKey) -> None:
        heard.setdefault(self, set()).add(key.id)

    nodes: list[EntitySync] = []
    async with running(scheme, directory) as server:
        for _ in range(2):
            nodes.append(EntitySync(server.url))
            nodes[-1].entity("items")(_nothing)
        with patch.object(Hub, "changed", changed):
            async with nodes[0], nodes[1]:
                loop = asyncio.get_running_loop()
                before, started = _memory(), loop.time()
                publishing = await asyncio.create_subprocess_exec(sys.executable, "-c", _PUBLISH, server.url)
                assert await publishing.wait() == 0
                took = loop.time() - started
                with suppress(TimeoutError):
                    async with asyncio.timeout(10.0):
                        while sum(map(len, heard.values())) < 2 * _KEYS and not _gaps(nodes):
                            await asyncio.sleep(0.05)
                gaps = _gaps(nodes)
                grown = _memory() - before - sum(map(sys.getsizeof, heard.values())) // 2**20
                reached = min((len(ids) for ids in heard.values()), default=0)
            text = f"{reached:,} of {_KEYS:,} at each node, {took:.1f} s, {gaps} gaps"
            text += f", +{max(0.0, grown):.0f} MiB"
            return Outcome(reached == _KEYS and grown <= _MAX_GROWTH, text)


async def _nothing(id: str) -> dict[str, Any] | None:
    return None


_PUBLISH = f"""
import sys
from entity_sync import Publisher
with Publisher(sys.argv[1]) as publisher:
    for start in range(0, {_KEYS}, 1_000):
        publisher.notify("items", *map(str, range(start, start + 1_000)))
"""

TRIALS = {
    "kills": Trial("killed and restarted every 5 s for a minute", kills),
    "frozen": Trial("stopped for 30 s", frozen),
    "absent": Trial("absent at the start", absent),
    "keys": Trial("100,000 keys of one `Publisher`", many_keys),
}


def _gaps(nodes: list[EntitySync]) -> int:
    return sum(sync.node.link.gaps.count for sync in nodes)


def _memory() -> float:
    """The most this process ever held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024


def _told(seconds: float) -> str:
    return "never" if seconds == float("inf") else f"{seconds:.1f} s"
