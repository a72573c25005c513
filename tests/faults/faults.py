"""The table of faults: what is done to the broker, or to a node's connections to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeAlias

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
        effect: what must be seen of it, or it did not happen: the first node's clients were told that its
            link broke, messages were found missing, or messages were dropped as nobody's.
        silences: the numbers of the nodes that nothing reaches meanwhile: their clients have to be told.
        seconds: for how long there are commits meanwhile.
        at_start: it is there before the nodes are.
        is_noise: it makes bytes that no server sends.
        spares: names of `cell.KINDS` to which it is not done.
    """

    name: str
    what: str
    inflict: _Inflict
    effect: Literal["breaks", "loses", "forges"] | None = None
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


def _keep_resetting(scene: Scene) -> AbstractAsyncContextManager[None]:
    return scene.link.keep_resetting(0.05)


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


_LUMPS = frozenset({"redis-stream"})
"""Messages travel in lumps there, and by another topic than that of the entity."""
_FRAIL = frozenset({"postgresql"})
"""asyncpg 0.32 ends the whole process by a segmentation fault over noise."""


@asynccontextmanager
async def _storm(scene: Scene) -> AsyncIterator[None]:
    """Two at a time, of the network and of processes, in any order."""

    async def run(faults: Sequence[Fault]) -> None:
        while True:
            async with scene.random.choice(faults).inflict(scene):
                await asyncio.sleep(scene.random.uniform(0.0, 0.3))

    usual = [fault for fault in FAULTS if not (fault.is_noise or fault.at_start)]
    ours = [fault for fault in usual if fault.inflict in _OF_PROCESSES]
    others = [fault for fault in usual if fault not in ours and fault.inflict not in _OF_NOBODY]
    async with processes.meanwhile(run(others)), processes.meanwhile(run(ours)):
        yield


def _killed(scene: Scene) -> AbstractAsyncContextManager[None]:
    return processes.killed(scene.server)


def _stopped(scene: Scene) -> AbstractAsyncContextManager[None]:
    return processes.stopped(scene.server)


def _frozen(scene: Scene) -> AbstractAsyncContextManager[None]:
    return processes.frozen(scene.server)


_OF_PROCESSES: tuple[_Inflict, ...] = (_killed, _kill_twice, _stopped, _frozen, processes.kicked)
_OF_NOBODY: tuple[_Inflict, ...] = (_storm, _stall_loop, processes.forged)

FAULTS = [
    Fault("refuse", "connections end, new ones are refused", lambda s: s.link.refuse(), silences=(0,)),
    Fault("turn-away", "connections end, new ones at once", lambda s: s.link.turn_away(), silences=(0,)),
    Fault("reset", "RST on every connection", lambda s: s.link.reset(), "breaks"),
    Fault("reset-both", "RST on every connection of both nodes", lambda s: _on_all(s, Proxy.reset), "breaks"),
    Fault("reset-first", "RST on the oldest connection", lambda s: s.link.reset(slice(1))),
    Fault("reset-last", "RST on the newest connection", lambda s: s.link.reset(slice(-1, None))),
    Fault("keep-resetting", "RST on the oldest, every 50 ms", _keep_resetting, "breaks"),
    Fault("flap", "refused and not refused, every few 10 ms", _flap, "breaks"),
    Fault("end", "FIN on every connection, both ways", _end_orderly, "breaks"),
    Fault("half-close-up", "FIN to the broker only", lambda s: s.link.half_close("up"), "breaks"),
    Fault("half-close-down", "FIN to the node only", lambda s: s.link.half_close("down"), "breaks"),
    Fault("black-hole", "connections carry nothing", lambda s: s.link.black_hole(*BOTH), silences=(0,)),
    Fault("black-hole-up", "the same, to the broker", lambda s: s.link.black_hole("up"), silences=(0,)),
    Fault("black-hole-down", "the same, to the node", lambda s: s.link.black_hole("down"), silences=(0,)),
    Fault("black-hole-both", "the same, for both nodes", _black_hole_both, silences=(0, 1)),
    Fault("forget-first", "only the oldest carries nothing", lambda s: s.link.forget(slice(1)), seconds=1.0),
    Fault("forget-last", "or only the newest", lambda s: s.link.forget(slice(-1, None)), seconds=1.0),
    Fault("stall", "everything is held back", lambda s: s.link.stall(*BOTH), silences=(0,)),
    Fault("stall-up", "what goes to the broker is held back", lambda s: s.link.stall("up"), silences=(0,)),
    Fault("stall-down", "what goes to the node is held back", lambda s: s.link.stall("down"), silences=(0,)),
    Fault("blink", "everything is held back for a moment", lambda s: s.link.stall(*BOTH)),
    Fault("delay", "100 ms both ways", lambda s: s.link.delay(0.1, *BOTH)),
    Fault("delay-down", "300 ms to the node", lambda s: s.link.delay(0.3, "down")),
    Fault("drip", "20,000 bytes a second", lambda s: s.link.drip(20_000, *BOTH)),
    Fault("drip-slowly", "200 bytes a second", lambda s: s.link.drip(200, *BOTH), "breaks", seconds=1.5),
    Fault("cut-up", "the end within 500 bytes", lambda s: s.link.cut(500, "up"), seconds=0.5),
    Fault("cut-down", "the end within 500 bytes", lambda s: s.link.cut(500, "down"), "breaks", seconds=0.5),
    Fault("cut-early", "the end within 50 bytes", lambda s: s.link.cut(50, *BOTH), silences=(0,)),
    Fault("repeat-bytes", "what goes to the broker goes twice", _repeat_bytes, is_noise=True),
    Fault("insert-bytes", "noise on the way down", _insert_bytes, "breaks", is_noise=True, spares=_FRAIL),
    Fault("lose-messages", "every other message is lost, and nobody tells", _lose, "loses", spares=_LUMPS),
    Fault("double-messages", "every message comes twice", _double, spares=_LUMPS),
    Fault("swap-messages", "messages come in another order", _swap, spares=_LUMPS),
    Fault("forge-messages", "a stranger says what no node says", processes.forged, "forges", spares=_LUMPS),
    Fault("kill", "SIGKILL of the broker, and a new start", _killed, silences=(0, 1)),
    Fault("kill-twice", "SIGKILL, a new start, and SIGKILL again", _kill_twice, "breaks"),
    Fault("restart", "an orderly restart", _stopped, silences=(0, 1)),
    Fault("freeze", "SIGSTOP of the broker, then SIGCONT", _frozen, silences=(0, 1)),
    Fault("kick", "the broker ends the clients' connections", processes.kicked, "breaks"),
    Fault("absent", "no broker when the nodes start", _killed, silences=(0, 1), at_start=True),
    Fault("loop-stall", "the nodes' event loop stands still", _stall_loop),
    Fault("storm", "two of these at a time, one after the other", _storm, seconds=2.0),
]  # fmt: skip
"""Every fault, in the order of the table in the docs."""
