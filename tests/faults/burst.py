"""100,000 keys of one Publisher: do they all reach every node, and what do the processes hold meanwhile?"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from entity_sync import Settings
from entity_sync.brokers.base import Broker, Delivery, Lost, Message
from entity_sync.brokers.registry import broker_from
from entity_sync.core import change
from tests.faults.viewer import ENTITY
from tests.faults.world import World

__all__ = ["Burst", "burst"]

_KEYS = 100_000
_WATCHED = 200
_PATIENCE = 30.0  # seconds from the Publisher's end
_FLAT = 32.0  # MiB by which a process may grow

_PUBLISH = """
import resource, sys
from entity_sync import Publisher

def held():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

url, prefix, entity, count = *sys.argv[1:4], int(sys.argv[4])
with Publisher(url, topic_prefix=prefix) as publisher:
    publisher.notify(entity, "0")
    before = held()
    for start in range(0, count, 1000):
        publisher.notify(entity, *map(str, range(start, start + 1000)))
    print(held() - before)
"""


@dataclass(frozen=True, slots=True)
class Burst:
    """What came of it.

    Attributes:
        reached: how many of the keys each node heard of, the fewest.
        lost: how often an adapter or a node said that messages may be missing.
        seconds: until the Publisher had handed over all.
        nodes_grew, publisher_grew: MiB of the process with both nodes, and of the Publisher's.
    """

    reached: int
    lost: int
    seconds: float
    nodes_grew: float
    publisher_grew: float
    violations: Sequence[str]

    @property
    def holds(self) -> bool:
        return (
            self.reached == _KEYS and not self.lost and not self.violations
            and max(self.nodes_grew, self.publisher_grew) <= _FLAT
        )  # fmt: skip

    def __str__(self) -> str:
        return (
            f"{self.reached:,} at each of two nodes, {self.lost} gaps, {_KEYS / self.seconds:,.0f} keys/s, "
            f"+{self.nodes_grew:.0f} MiB (nodes), +{self.publisher_grew:.0f} MiB (`Publisher`)"
        )


class Counting:
    """An adapter, and which keys came through it."""

    def __init__(self, inner: Broker) -> None:
        self.seen = bytearray(_KEYS)
        self.lost = 0
        self._inner = inner
        self.connect = inner.connect
        self.publish = inner.publish
        self.subscribe = inner.subscribe
        self.unsubscribe = inner.unsubscribe
        self.close = inner.close

    async def receive(self) -> AsyncIterator[Delivery]:
        async for delivery in self._inner.receive():
            if isinstance(delivery, Message) and delivery.topic.endswith(ENTITY):
                letter = change.decode(delivery.payload)
                assert letter is not None
                self.seen[int(letter.key.id)] = 1
            elif isinstance(delivery, Lost):
                self.lost += 1
            yield delivery


async def burst(url: str, seed: str) -> Burst:
    """Have a process of its own notify all keys; raises AssertionError where clients stay stale."""
    counting = [Counting(broker_from(url)) for _ in range(2)]
    ids = [f"{number}" for number in range(0, _KEYS, _KEYS // _WATCHED)]
    async with World(counting, ids, seed=seed, settings=replace(Settings(), classic_snapshot=True)) as world:
        await world.settle(10.0)
        world.commit_silently()
        loop, most = asyncio.get_running_loop(), _held()
        before, started = most, loop.time()
        arguments = ["-c", _PUBLISH, url, world.topics, ENTITY, f"{_KEYS}"]
        publishing = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdout=asyncio.subprocess.PIPE
        )
        printing = loop.create_task(publishing.communicate())
        while not printing.done():
            await asyncio.wait([printing], timeout=0.05)
            most = max(most, _held())
        seconds = loop.time() - started
        assert publishing.returncode == 0, "the Publisher failed"
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                while not all(all(adapter.seen) for adapter in counting):
                    await asyncio.sleep(0.1)
                    most = max(most, _held())
        await world.settle(10.0)
        lost = sum(adapter.lost for adapter in counting) + sum(n.node.link.gaps.count for n in world.nodes)
    reached = min(sum(adapter.seen) for adapter in counting)
    return Burst(reached, lost, seconds, most - before, float(printing.result()[0]), world.violations)


def _held() -> float:
    """MiB that this process holds now."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1_024
