"""Starting and ending a node: once per process and event loop, however many ask for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Protocol

from entity_sync.brokers.base import Broker
from entity_sync.errors import ConfigurationError, NotRunning
from entity_sync.hub.node import Application, Node

__all__ = ["Life", "Startable"]


class Startable(Protocol):
    """What is started."""

    def application(self) -> Application:
        """What it declares."""
        ...

    def broker(self) -> Broker:
        """The broker of the next start."""
        ...


class Life:
    """A reference-counted node: the first who enters starts it, the last who leaves ends it.

    Safe to inherit by a fork, and to start again on another loop.
    """

    def __init__(self, resources: Callable[[Any], AbstractAsyncContextManager[Any]] | None) -> None:
        """
        Args:
            resources: makes what is open as long as the node lives, of what is started.
        """
        self._resources = resources
        self._node: Node | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # where it lives, or lived last
        self._pid = 0
        self._users = 0
        self._starting = asyncio.Lock()
        self._stack = AsyncExitStack()

    @property
    def node(self) -> Node:
        """The running node.

        Raises:
            NotRunning: it is not started, not in this process, or its loop is over.
        """
        if self._node is None or not self._node.is_ours or self._loop is None or self._loop.is_closed():
            raise NotRunning(
                "Entity Sync is not running in this process: pass lifespan=sync.lifespan to your application "
                "(a mounted application gets no lifespan of its own), or use 'async with sync'"
            )
        return self._node

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop it runs in.

        Raises:
            NotRunning: as for `node`.
        """
        _ = self.node
        assert self._loop is not None
        return self._loop

    @property
    def is_running(self) -> bool:
        """Whether this process has started it."""
        return self._node is not None and self._node.is_ours

    @property
    def _is_busy(self) -> bool:
        """Whether this process has started it, or is about to start or end it."""
        return self._pid == os.getpid() and (self._node is not None or self._starting.locked())

    async def enter(self, what: Startable) -> None:
        """One more user.

        Raises:
            ConfigurationError: what is declared cannot work, or it runs in another loop already.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop or self._pid != os.getpid():
            if self._is_busy and self._loop is not None and self._loop.is_running():
                raise ConfigurationError("this EntitySync runs in another event loop of this process already")
            self._move(loop)  # what is there was inherited by a fork, or belongs to a loop that is over
        async with self._starting:
            if self._node is None:
                await self._start(what)
            self._users += 1

    async def leave(self) -> None:
        """One user fewer; the last one waits for the drain."""
        async with self._starting:  # who enters meanwhile waits for the end, and starts anew
            self._users -= 1
            if self._users == 0:
                node, stack = self._node, self._stack
                assert node is not None
                try:
                    await node.drain()
                finally:
                    self._node = None
                    try:
                        await node.close()
                    finally:
                        await stack.aclose()

    async def _start(self, what: Startable) -> None:
        application = what.application()
        self._stack = AsyncExitStack()
        node = Node(application, what.broker())
        try:
            await node.start()
            self._node = node
            if self._resources is not None:
                await self._stack.enter_async_context(self._resources(what))
        except BaseException:
            self._node = None
            await node.close()
            raise

    def _move(self, loop: asyncio.AbstractEventLoop) -> None:
        self._node, self._users = None, 0
        self._loop, self._pid = loop, os.getpid()
        self._starting = asyncio.Lock()
