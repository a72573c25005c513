"""Our own server: a listener of direct doors, its orderly end, and the signals that ask for it."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import FrameType

from entity_sync.errors import ConfigurationError, MissingExtra
from entity_sync.server.direct import Door
from entity_sync.server.entrance import Entrance
from entity_sync.server.http import Page
from entity_sync.server.servable import Servable

__all__ = ["Listener", "end_signals", "listen", "run"]

_log = logging.getLogger("entity_sync.server")
_BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Listener:
    """Where a server listens.

    Attributes:
        port: the one that was free where 0 was asked for.
        path: of the WebSocket.
    """

    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """Where clients connect."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ws://{host}:{self.port}{self.path}"


def run(
    sync: Servable,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    path: str = "/ws/entity-sync/",
    pages: Mapping[str, Page] | None = None,
    on_ready: Callable[[Listener], object] | None = None,
    uvloop: bool | None = None,
) -> None:
    """Start ``sync`` and serve it until SIGTERM, SIGINT or SIGHUP; then send the clients away and stop.

    A second signal ends the process at once. Call it in the main thread.

    Args:
        port: 0 for any that is free.
        path: of the WebSocket, exactly.
        pages: small pages by their exact path.
        on_ready: called once clients can connect.
        uvloop: run on it, or not; None means where it is installed.

    Raises:
        ConfigurationError: the address cannot be listened on, or ``sync`` cannot start.
        MissingExtra: uvloop is wanted and not installed.
    """

    async def serve() -> None:
        asked = asyncio.Event()
        with _signals(asked):
            async with listen(sync, host=host, port=port, path=path, pages=pages) as listener:
                if on_ready is not None:
                    on_ready(listener)
                await asked.wait()

    with asyncio.Runner(loop_factory=_loop_factory(uvloop)) as runner:
        runner.run(serve())


@asynccontextmanager
async def listen(
    sync: Servable,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    path: str = "/ws/entity-sync/",
    pages: Mapping[str, Page] | None = None,
) -> AsyncGenerator[Listener]:
    """Start ``sync`` and serve it while inside; then send the clients away and stop it.

    Args:
        port: 0 for any that is free.
        path: of the WebSocket, exactly.
        pages: small pages by their exact path.

    Raises:
        ConfigurationError: the address cannot be listened on, or ``sync`` cannot start.
    """
    if not path.startswith("/"):
        raise ConfigurationError(f"a path starts with a slash, not {path!r}")
    if not 0 <= port <= 65_535:
        raise ConfigurationError(f"a port is 0 to 65535, not {port!r}")
    entrance = Entrance(lambda: sync.node, path, pages or {})
    server = await _bind(entrance, host, port)
    try:
        listener = Listener(host, server.sockets[0].getsockname()[1], path)
        async with sync:
            await server.start_serving()
            _log.info("serving %s", listener.url)
            try:
                yield listener
            finally:
                server.close()
                await entrance.drain()
        _log.info("stopped serving %s", listener.url)
    finally:
        server.close()
        await server.wait_closed()


async def _bind(entrance: Entrance, host: str, port: int) -> asyncio.Server:
    # Bound before anything starts, so that a taken port costs nothing; nobody is served yet.
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(
            lambda: Door(entrance), host, port, backlog=_BACKLOG, start_serving=False
        )
    except OSError as error:
        is_taken = error.errno == errno.EADDRINUSE
        why = "it is taken. Choose another, or 0 for any that is free" if is_taken else error
        raise ConfigurationError(f"cannot listen on {host} port {port}: {why}") from error


def end_signals() -> list[signal.Signals]:
    """What asks a server to end: SIGHUP too, where its terminal may close (nohup has it ignored)."""
    numbers = [signal.SIGTERM, signal.SIGINT]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers


@contextmanager
def _signals(asked: asyncio.Event) -> Generator[None]:
    loop = asyncio.get_running_loop()
    numbers = end_signals()

    def ask(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)  # the second one ends the process
        loop.call_soon_threadsafe(asked.set)

    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _loop_factory(wanted: bool | None) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if wanted is False:
        return None
    try:
        from uvloop import new_event_loop
    except ImportError:
        if wanted:
            raise MissingExtra("uvloop", "uvloop") from None
        return None
    return new_event_loop
