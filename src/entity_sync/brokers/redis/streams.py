"""Changes by Redis streams: a node that was away for a moment goes on where it was.

The stream of a topic is the key ``entity-sync:TOPIC`` and keeps about the last 10,000 messages. A gap
is told for a topic when the place where we were has been trimmed away, when its stream was deleted or
began anew, and for all of them when another server process answers than before.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from entity_sync.brokers.base import TRANSIENT, Lost, Restored
from entity_sync.brokers.inbox import Inbox
from entity_sync.brokers.redis.line import Command, Line, Opener
from entity_sync.errors import BrokerUnavailable

__all__ = ["Streams"]

_KEY = "entity-sync:"
_FIELD = b"change"
_KEPT = 10_000  # messages of a topic
_EXPIRY = 3_600  # seconds without a message after which a transient topic's stream is deleted
_COUNT = 4_000  # messages of a topic read at once: fewer than are kept, so who missed some reads as many
_BLOCK = 1.0  # seconds to wait for the next message before asking whether the streams are still ours
_ANSWER = 3.0  # seconds for the server to answer
_PATIENCE = 3.0  # seconds to connect again before the link counts as ended
_PAUSE = 0.1  # seconds between two attempts
_NOTHING = b"0-0"  # the id before the first


class Streams:
    """The place in each topic's stream up to which everything was delivered."""

    def __init__(
        self,
        opener: Opener,
        speak: Callable[[], Awaitable[Line]],
        inbox: Inbox,
    ) -> None:
        """
        Args:
            speak: gives a line that is not blocked by reading.
            inbox: gets everything that `run` finds.
        """
        self._opener = opener
        self._speak = speak
        self._inbox = inbox
        self._places: dict[str, bytes] = {}
        self._followed = asyncio.Event()
        self._reader = 0

    @staticmethod
    def add(topic: str, payloads: Sequence[bytes]) -> list[Command]:
        """The commands that publish these payloads."""
        key = _KEY + topic
        commands: list[Command] = [
            ("XADD", key, "MAXLEN", "~", _KEPT, "*", _FIELD, payload) for payload in payloads
        ]
        if topic.endswith(TRANSIENT):
            commands.append(("EXPIRE", key, _EXPIRY))
        return commands

    async def follow(self, topics: Collection[str]) -> None:
        """Deliver what these topics carry from now on; raises BrokerUnavailable if their ends are unknown."""
        line = await self._speak()
        self._places |= _ids(topics, await line.ask(_last(topics)))
        self._followed.set()
        with suppress(BrokerUnavailable):  # it only makes it faster, and a server may not allow it
            await line.ask([("CLIENT", "UNBLOCK", self._reader)])

    def leave(self, topics: Collection[str]) -> None:
        """Deliver these topics no longer."""
        for topic in topics:
            self._places.pop(topic, None)
        if not self._places:
            self._followed.clear()

    async def run(self, line: Line) -> None:
        """Read until cancelled, going on with another line when one ends.

        Raises:
            BrokerUnavailable: the server was away for too long.
        """
        try:
            server = await self._greet(line)
            while True:
                try:
                    await self._read(line)
                except BrokerUnavailable as error:
                    await line.close()
                    line = await self._reopen(error)
                    server = await self._resume(line, server)
        finally:
            await line.close()

    async def _read(self, line: Line) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_BLOCK):
                    await self._followed.wait()
            before = dict(self._places)
            if not before:
                await line.ask([("PING",)], within=_ANSWER)
                continue
            [found] = await line.ask([_read(before)], within=_BLOCK + _ANSWER)
            full = {topic for topic, entries in _by_topic(found) if self._take(topic, entries) == _COUNT}
            if full:  # we may have been so slow that what we had not read was trimmed
                await self._compare(line, {topic: before[topic] for topic in full})
            elif found is None:
                await self._compare(line, _begun(before))

    def _take(self, topic: str, entries: Sequence[Any]) -> int:
        """Deliver what is new of these entries; returns how many there are."""
        place = self._places.get(topic)
        if place is not None:
            payloads: list[bytes] = [
                fields[1]
                for identifier, fields in entries
                if _number(identifier) > _number(place) and fields and fields[0] == _FIELD
            ]
            self._inbox.put(topic, payloads)
            self._places[topic] = max(place, entries[-1][0], key=_number)
        return len(entries)

    async def _compare(self, line: Line, places: Mapping[str, bytes]) -> None:
        """Tell of a gap where a stream does not hold anymore what follows these places."""
        ends = await line.ask([*_first(places), *_last(places)])
        firsts, lasts = ends[: len(places)], _ids(places, ends[len(places) :])
        gaps: set[str] = set()
        for (topic, place), first in zip(places.items(), firsts, strict=True):
            anew = _number(lasts[topic]) < _number(place)
            if not first or anew or _number(first[0][0]) > _number(place):
                gaps.add(topic)
            if anew and topic in self._places:
                self._places[topic] = lasts[topic]
        if gaps:
            self._inbox.tell((Lost(frozenset(gaps)), Restored(frozenset(gaps))))

    async def _greet(self, line: Line) -> bytes | None:
        """Learn how to wake our reading, and which server process it is, if it may be known."""
        self._reader, server = 0, None
        with suppress(BrokerUnavailable):  # a server may not allow us to ask
            [self._reader] = await line.ask([("CLIENT", "ID")], within=_ANSWER)
        with suppress(BrokerUnavailable):
            [about] = await line.ask([("INFO", "server")], within=_ANSWER)
            server = re.search(rb"run_id:(\w+)", about)
        return server and server[1]

    async def _reopen(self, error: BrokerUnavailable) -> Line:
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    with suppress(BrokerUnavailable):
                        return await Line.open(self._opener)
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            raise error from None

    async def _resume(self, line: Line, server: bytes | None) -> bytes | None:
        """Go on, with a gap if one may have happened; returns which server it is now."""
        now = await self._greet(line)
        if now is None or now != server:  # what another one accepted, or kept, is not known
            self._inbox.tell((Lost(),))
            topics = tuple(self._places)
            ends = _ids(topics, await line.ask(_last(topics)))
            self._places |= {topic: end for topic, end in ends.items() if topic in self._places}
            self._inbox.tell((Restored(),))
        else:
            await self._compare(line, _begun(self._places))
        return now


def _read(places: Mapping[str, bytes]) -> Command:
    keys: Command = tuple(_KEY + topic for topic in places)
    limits: Command = ("COUNT", _COUNT, "BLOCK", int(_BLOCK * 1_000))
    return ("XREAD", *limits, "STREAMS", *keys, *places.values())


def _first(topics: Iterable[str]) -> list[Command]:
    return [("XRANGE", _KEY + topic, "-", "+", "COUNT", 1) for topic in topics]


def _last(topics: Iterable[str]) -> list[Command]:
    return [("XREVRANGE", _KEY + topic, "+", "-", "COUNT", 1) for topic in topics]


def _ids(topics: Collection[str], found: Sequence[Any]) -> dict[str, bytes]:
    """The id of each topic's only entry that was found."""
    return {topic: one[0][0] if one else _NOTHING for topic, one in zip(topics, found, strict=True)}


def _by_topic(found: Iterable[Any] | None) -> Iterable[tuple[str, Sequence[Any]]]:
    return ((key.decode().removeprefix(_KEY), entries) for key, entries in found or ())


def _begun(places: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those of streams that had begun; of the others everything is still to be read."""
    return {topic: place for topic, place in places.items() if place != _NOTHING}


def _number(identifier: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = identifier.partition(b"-")
    return int(milliseconds), int(sequence)
