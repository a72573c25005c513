"""The table of faults: what is done to the broker, or to a node's connections to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from tests.faults import processes
from tests.faults.frames import Frame
from tests.faults.proxy import BOTH, Proxy
from tests.support.servers import Server

__all__ = ["FAULTS", "Fault", "Scene"]


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a fault takes place.

    Attributes:
        topics: what the nodes' topics begin with.
        proxies: one before each node; faults of the network happen to the first.
    """

    scheme: str
    server: Server
    proxies: Sequence[Proxy]
    topics: str
    random: Random

    @property
    def link(self) -> Proxy:
        """The first node's."""
        return self.proxies[0]


_Inflict: TypeAlias = Callable[[Scene], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens, and is over when the context is left.

    Attributes:
        silences: the numbers of the nodes that nothing can reach meanwhile: their clients have to be told.
        seconds: for how long there are commits meanwhile.
        at_start: it is there before the nodes are.
        is_noise: it makes bytes that no server sends.
        spares: names of `cell.KINDS` to which it is not done.
    """

    name: str
    what: str
    inflict: _Inflict
    silences: tuple[int, ...] = ()
    seconds: float = 0.3
    at_start: bool = False
    is_noise: bool = False
    spares: frozenset[str] = frozenset()


# Of the network


@asynccontextmanager
async def _flap(scene: Scene) -> AsyncIterator[None]:
    async def run() -> None:
        while True:
            async with scene.link.refuse():
                await asyncio.sleep(scene.random.uniform(0.01, 0.1))
            await asyncio.sleep(scene.random.uniform(0.01, 0.1))

    async with processes.meanwhile(run()):
        yield


@asynccontextmanager
async def _end_orderly(scene: Scene) -> AsyncIterator[None]:
    async with scene.link.half_close("down"), scene.link.half_close("up"):
        yield


@asynccontextmanager
async def _on_all(
    scene: Scene, inflict: Callable[[Proxy], AbstractAsyncContextManager[None]]
) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for proxy in scene.proxies:
            await stack.enter_async_context(inflict(proxy))
        yield


def _black_hole_both(scene: Scene) -> AbstractAsyncContextManager[None]:
    return _on_all(scene, lambda proxy: proxy.black_hole(*BOTH))


# Of messages: in whole frames, so that the protocol holds and only our numbers can tell


def _is_change(frame: Frame) -> bool:
    return frame.is_message and b'{"entity":' in frame.data


def _lose(scene: Scene) -> AbstractAsyncContextManager[None]:
    def lose(frames: list[Frame]) -> list[Frame]:
        return [frame for frame in frames if not (_is_change(frame) and scene.random.random() < 0.5)]

    return scene.link.alter(lose, "down")


def _double(scene: Scene) -> AbstractAsyncContextManager[None]:
    def double(frames: list[Frame]) -> list[Frame]:
        return [again for frame in frames for again in [frame] * (1 + frame.is_message)]

    return scene.link.alter(double, "down")


def _swap(scene: Scene) -> AbstractAsyncContextManager[None]:
    held: list[Frame] = []

    def swap(frames: list[Frame]) -> list[Frame]:
        swapped: list[Frame] = []
        for frame in frames:
            if _is_change(frame) and not held:
                held.append(frame)
            else:
                swapped.append(frame)
                if _is_change(frame):
                    swapped.append(held.pop())
        return swapped

    return scene.link.alter(swap, "down")


# Of bytes: the protocol breaks


def _repeat_bytes(scene: Scene) -> AbstractAsyncContextManager[None]:
    return scene.link.alter(lambda frames: frames * 2, "up")


def _insert_bytes(scene: Scene) -> AbstractAsyncContextManager[None]:
    def insert(frames: list[Frame]) -> list[Frame]:
        return [Frame(scene.random.randbytes(scene.random.randint(1, 64))), *frames]

    return scene.link.alter(insert, "down")


# Of processes


@asynccontextmanager
async def _kill_twice(scene: Scene) -> AsyncIterator[None]:
    async with processes.killed(scene.server):
        pass
    async with processes.killed(scene.server):
        yield


@asynccontextmanager
async def _stall_loop(_scene: Scene) -> AsyncIterator[None]:
    for _ in range(3):
        time.sleep(0.3)  # every node of this process stands still, as behind a loader that blocks
        await asyncio.sleep(0.05)
    yield


_FRAIL = frozenset({"postgresql"})
"""asyncpg 0.32 ends the whole process by a segmentation fault over noise."""

FAULTS = [
    Fault("refuse", "connections end, new ones are refused", lambda s: s.link.refuse(), (0,)),
    Fault("turn-away", "connections end, new ones too, once accepted", lambda s: s.link.turn_away(), (0,)),
    Fault("reset", "RST on every connection", lambda s: s.link.reset()),
    Fault("reset-both", "RST on every connection of both nodes", lambda s: _on_all(s, Proxy.reset)),
    Fault("keep-resetting", "RST on one connection every 50 ms", lambda s: s.link.keep_resetting(0.05)),
    Fault("flap", "refused and not refused, every few 10 ms", _flap),
    Fault("end", "FIN on every connection, both ways", _end_orderly),
    Fault("half-close-up", "FIN to the broker, which may go on sending", lambda s: s.link.half_close("up")),
    Fault("half-close-down", "FIN to the node, which may go on sending", lambda s: s.link.half_close("down")),
    Fault("black-hole", "connections carry nothing and do not end", lambda s: s.link.black_hole(*BOTH), (0,)),
    Fault("black-hole-up", "the same, to the broker only", lambda s: s.link.black_hole("up"), (0,)),
    Fault("black-hole-down", "the same, to the node only", lambda s: s.link.black_hole("down"), (0,)),
    Fault("black-hole-both", "the same, for both nodes", _black_hole_both, (0, 1)),
    Fault("stall", "everything is held back", lambda s: s.link.stall(*BOTH), (0,)),
    Fault("stall-up", "what goes to the broker is held back", lambda s: s.link.stall("up"), (0,)),
    Fault("stall-down", "what goes to the node is held back", lambda s: s.link.stall("down"), (0,)),
    Fault("blink", "everything is held back for a moment", lambda s: s.link.stall(*BOTH)),
    Fault("delay", "100 ms both ways", lambda s: s.link.delay(0.1, *BOTH)),
    Fault("delay-down", "300 ms to the node", lambda s: s.link.delay(0.3, "down")),
    Fault("drip", "20,000 bytes a second, both ways", lambda s: s.link.drip(20_000, *BOTH)),
    Fault("drip-slowly", "500 bytes a second, both ways", lambda s: s.link.drip(500, *BOTH)),
    Fault("cut-up", "ends within 2,000 bytes to the broker", lambda s: s.link.cut(2_000, "up")),
    Fault("cut-down", "ends within 2,000 bytes to the node", lambda s: s.link.cut(2_000, "down")),
    Fault("cut-early", "ends within 50 bytes, both ways", lambda s: s.link.cut(50, *BOTH), seconds=0.5),
    Fault("repeat-bytes", "what goes to the broker goes twice", _repeat_bytes, is_noise=True),
    Fault("insert-bytes", "noise before what goes to the node", _insert_bytes, is_noise=True, spares=_FRAIL),
    Fault("lose-messages", "every other message is lost, and nobody tells", _lose),
    Fault("double-messages", "every message comes twice", _double),
    Fault("swap-messages", "messages come in another order", _swap),
    Fault("forge-messages", "somebody publishes what no node says", processes.forged),
    Fault("kill", "SIGKILL of the broker, and a new start", lambda s: processes.killed(s.server), (0, 1)),
    Fault("kill-twice", "SIGKILL, a new start, and SIGKILL again", _kill_twice),
    Fault("restart", "an orderly restart", lambda s: processes.stopped(s.server), (0, 1)),
    Fault("freeze", "SIGSTOP of the broker, then SIGCONT", lambda s: processes.frozen(s.server), (0, 1)),
    Fault("kick", "the broker ends the clients' connections", processes.kicked),
    Fault("absent", "no broker when the nodes start", lambda s: processes.killed(s.server), at_start=True),
    Fault("loop-stall", "the nodes' event loop stands still", _stall_loop),
]  # fmt: skip
"""Every fault, in the order of the table in the docs."""
