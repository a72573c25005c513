"""The table of faults: each strikes a broker, or the way to it, for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

from tests.outages.proxy import BOTH, DOWN, UP, Proxy
from tests.support.servers import Server

__all__ = ["FAULTS", "Fault"]

_Strike: TypeAlias = Callable[[Proxy, Server, float], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """Attributes: whether nothing came through while it lasted, so that clients have to be told."""

    name: str
    strike: _Strike
    is_silent: bool = False


def _during(of: Callable[[Proxy], AbstractContextManager[None]]) -> _Strike:
    """A fault of the proxy that lasts."""

    @asynccontextmanager
    async def strike(proxy: Proxy, _server: Server, seconds: float) -> AsyncGenerator[None]:
        with of(proxy):
            yield
            await asyncio.sleep(seconds)

    return strike


def _at_once(of: Callable[[Proxy, Server], object], times: int = 1) -> _Strike:
    """A fault that is over as soon as it struck, perhaps several times."""

    @asynccontextmanager
    async def strike(proxy: Proxy, server: Server, seconds: float) -> AsyncGenerator[None]:
        for _ in range(times):
            result = of(proxy, server)
            if isinstance(result, Awaitable):
                await result
            await asyncio.sleep(seconds / times)
        yield

    return strike


async def _restart(_proxy: Proxy, server: Server) -> None:
    server.kill()
    await server.start()


@asynccontextmanager
async def _away(_proxy: Proxy, server: Server, seconds: float) -> AsyncGenerator[None]:
    server.kill()
    yield
    await asyncio.sleep(seconds)
    await server.start()


@asynccontextmanager
async def _ordered_restart(_proxy: Proxy, server: Server, seconds: float) -> AsyncGenerator[None]:
    server.terminate()
    yield
    await asyncio.sleep(seconds)
    await server.start()


@asynccontextmanager
async def _frozen(_proxy: Proxy, server: Server, seconds: float) -> AsyncGenerator[None]:
    server.freeze()
    try:
        yield
        await asyncio.sleep(seconds)
    finally:
        server.thaw()


async def _disconnect_clients(_proxy: Proxy, server: Server) -> None:
    await server.disconnect_clients()


FAULTS = (
    Fault("refuse", _during(lambda proxy: proxy.refuse())),
    Fault("reset", _at_once(lambda proxy, _: proxy.reset())),
    Fault("reset-thrice", _at_once(lambda proxy, _: proxy.reset(), times=3)),
    Fault("close", _at_once(lambda proxy, _: proxy.end(*BOTH))),
    Fault("half-close-down", _at_once(lambda proxy, _: proxy.end(*DOWN))),
    Fault("half-close-up", _at_once(lambda proxy, _: proxy.end(*UP))),
    Fault("black-hole", _during(lambda proxy: proxy.black_hole(*BOTH)), is_silent=True),
    Fault("black-hole-down", _during(lambda proxy: proxy.black_hole(*DOWN)), is_silent=True),
    Fault("black-hole-up", _during(lambda proxy: proxy.black_hole(*UP)), is_silent=True),
    Fault("stall", _during(lambda proxy: proxy.stall(*BOTH)), is_silent=True),
    Fault("stall-down", _during(lambda proxy: proxy.stall(*DOWN)), is_silent=True),
    Fault("stall-up", _during(lambda proxy: proxy.stall(*UP)), is_silent=True),
    Fault("delay", _during(lambda proxy: proxy.delay(0.1, *BOTH))),
    Fault("drip", _during(lambda proxy: proxy.drip(7))),
    Fault("cut-mid-frame-down", _during(lambda proxy: proxy.cut_mid_frame(101, *DOWN))),
    Fault("cut-mid-frame-up", _during(lambda proxy: proxy.cut_mid_frame(101, *UP))),
    Fault("duplicate-down", _during(lambda proxy: proxy.duplicate(*DOWN))),
    Fault("duplicate-up", _during(lambda proxy: proxy.duplicate(*UP))),
    Fault("garble-down", _during(lambda proxy: proxy.garble(*DOWN))),
    Fault("garble-up", _during(lambda proxy: proxy.garble(*UP))),
    Fault("kill-and-restart", _at_once(_restart)),
    Fault("kill-twice", _at_once(_restart, times=2)),
    Fault("away", _away),
    Fault("ordered-restart", _ordered_restart),
    Fault("frozen", _frozen, is_silent=True),
    Fault("clients-disconnected-by-server", _at_once(_disconnect_clients)),
)
