"""nsqlookupd, asked over HTTP which nsqds there are."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

from entity_sync.brokers.nsq.endpoint import bounded
from entity_sync.errors import BrokerUnavailable

__all__ = ["Place", "nodes", "producers"]

Place = tuple[str, int]
"""Host and port."""

_MAX_ANSWER = 4 * 1_024 * 1_024


async def producers(lookup: Place, topic: str) -> set[Place]:
    """The nsqds that have a topic; none when nobody knows it.

    Raises:
        BrokerUnavailable: nsqlookupd does not answer, or not sensibly.
    """
    return await _ask(lookup, f"/lookup?topic={quote(topic, safe='')}")


async def nodes(lookup: Place) -> set[Place]:
    """Every nsqd; raises as `producers`."""
    return await _ask(lookup, "/nodes")


async def _ask(lookup: Place, path: str) -> set[Place]:
    name = f"nsqlookupd {lookup[0]}:{lookup[1]}"
    async with bounded(name):
        status, body = await _get(lookup, path)
    if status == 404:
        return set()
    try:
        if status != 200:
            raise ValueError(f"HTTP status {status}")
        return {_place(one) for one in json.loads(body)["producers"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BrokerUnavailable(f"{name} gave no list of nsqds: {error!r}") from None


async def _get(lookup: Place, path: str) -> tuple[int, bytes]:
    # HTTP/1.0: the answer ends with the connection, and nothing comes in chunks.
    reader, writer = await asyncio.open_connection(*lookup)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {lookup[0]}\r\nAccept: application/json\r\n\r\n".encode())
        answer = bytearray()
        while piece := await reader.read(65_536):
            answer += piece
            if len(answer) > _MAX_ANSWER:
                raise OSError(f"an answer of more than {_MAX_ANSWER} bytes")
    finally:
        writer.transport.abort()
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    return int(status[0]) if status and status[0].isdigit() else 0, body


def _place(producer: Any) -> Place:
    host, port = producer["broadcast_address"], producer["tcp_port"]
    if not isinstance(host, str) or not isinstance(port, int) or not 0 < port < 65_536:
        raise TypeError("an nsqd without a host or a port")
    return host, port
