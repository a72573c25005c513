"""Nodes of one process, joined by name: ``memory://`` or ``memory://name``.

Delivery: everything published reaches every member in order; nothing is lost while connected.
It joins event loops of several threads too. It cannot reach another process, so a second worker
process of the same application is refused (see `exclusive`) instead of being silently deaf.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress
from threading import Lock
from urllib.parse import urlsplit

from entity_sync.brokers.base import Delivery, Lost, Message, Restored
from entity_sync.brokers.exclusive import Exclusive
from entity_sync.errors import BrokerUnavailable

__all__ = ["MemoryBroker"]

_members: dict[str, dict[MemoryBroker, None]] = {}
_lock = Lock()
_INBOX = 100_000  # messages that may wait for one member


class MemoryBroker:
    """One node's membership."""

    def __init__(self, url: str = "memory://") -> None:
        """
        Args:
            url: nodes of the same name see each other's changes.
        """
        self._name = urlsplit(url).netloc
        self._topics: frozenset[str] = frozenset()
        self._inbox: asyncio.Queue[Delivery | None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exclusive = Exclusive(f"memory://{self._name}")

    async def connect(self) -> None:
        """Join.

        Raises:
            ConfigurationError: another process of this application has joined.
        """
        self._exclusive.acquire()
        self._topics = frozenset()
        self._inbox, self._loop = asyncio.Queue(), asyncio.get_running_loop()
        with _lock:
            _members.setdefault(self._name, {})[self] = None

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Hand the payloads to every member that subscribed to the topic."""
        if self._inbox is None:
            raise BrokerUnavailable("the memory broker is closed")
        with _lock:
            members = [member for member in _members.get(self._name, ()) if topic in member._topics]
        for member in members:
            member._deliver([Message(topic, payload) for payload in payloads])

    async def subscribe(self, topics: Collection[str]) -> None:
        """Receive these topics from now on."""
        self._topics = self._topics.union(topics)

    async def unsubscribe(self, topics: Collection[str]) -> None:
        """Receive these topics no longer."""
        self._topics = self._topics.difference(topics)

    async def receive(self) -> AsyncIterator[Delivery]:
        """Yield what was published, until closed."""
        inbox = self._inbox
        if inbox is None:
            raise BrokerUnavailable("the memory broker is closed")
        while (delivery := await inbox.get()) is not None:
            yield delivery

    async def close(self) -> None:
        """Leave."""
        with _lock:
            members = _members.get(self._name, {})
            members.pop(self, None)
            if not members:
                _members.pop(self._name, None)
        if self._inbox is not None:
            self._inbox.put_nowait(None)
            self._inbox = None
            self._exclusive.release()

    def _deliver(self, messages: Sequence[Message]) -> None:
        inbox, loop = self._inbox, self._loop
        if inbox is None or loop is None:
            return
        if loop is asyncio.get_running_loop():
            _fill(inbox, messages)
        else:
            with suppress(RuntimeError):  # its loop is closed
                loop.call_soon_threadsafe(_fill, inbox, messages)


def _fill(inbox: asyncio.Queue[Delivery | None], messages: Sequence[Message]) -> None:
    if inbox.qsize() + len(messages) <= _INBOX:
        for message in messages:
            inbox.put_nowait(message)
        return
    # A member that cannot keep up forgets what waits and loads everything again: bounded, and true.
    while not inbox.empty():
        inbox.get_nowait()
    inbox.put_nowait(Lost())
    inbox.put_nowait(Restored())


def _begin_child() -> None:
    """A forked child does not reach the members it inherited: their loops do not run in it."""
    global _lock  # noqa: PLW0603 - a thread that the child does not have may hold the old one
    _lock = Lock()
    _members.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_begin_child)
