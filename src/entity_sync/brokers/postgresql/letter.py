"""Topic and payload as the text of one NOTIFY."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from itertools import count

from entity_sync.brokers.base import Message
from entity_sync.errors import BrokerError

__all__ = ["Letters", "read"]

_MAX = 7_999  # bytes; PostgreSQL refuses 8,000
_TEXT, _BASE64 = "t", "b"


class Letters:
    """Writes texts that are never equal: of equal ones in a transaction PostgreSQL delivers one."""

    def __init__(self) -> None:
        self._numbers: Iterator[int] = count()

    def write(self, topic: str, payload: bytes) -> str:
        """``NUMBER:TOPIC:KIND:PAYLOAD``.

        Raises:
            BrokerError: it is longer than PostgreSQL carries.
        """
        # Beyond ASCII it would depend on the database's encoding whether the text arrives, and how.
        kind, body = _TEXT, payload
        if b"\0" in payload or not payload.isascii():
            kind, body = _BASE64, base64.b64encode(payload)
        text = f"{next(self._numbers):x}:{topic}:{kind}:{body.decode('ascii')}"
        if len(text) > _MAX:
            raise BrokerError(f"PostgreSQL carries {_MAX} bytes in a notification, not {len(text)}")
        return text


def read(text: str) -> Message | None:
    """The message in a text of `Letters`, or None where somebody else wrote it."""
    _, topic, kind, body = parts if len(parts := text.split(":", 3)) == 4 else ("", "", "", "")
    if kind == _TEXT:
        return Message(topic, body.encode())
    if kind == _BASE64:
        try:
            return Message(topic, base64.b64decode(body, validate=True))
        except (binascii.Error, ValueError):
            return None
    return None
