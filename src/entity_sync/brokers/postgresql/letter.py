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
        kind, body = _TEXT, _as_text(payload)
        if body is None:
            kind, body = _BASE64, base64.b64encode(payload).decode()
        text = f"{next(self._numbers):x}:{topic}:{kind}:{body}"
        if len(text.encode()) > _MAX:
            raise BrokerError(f"PostgreSQL carries {_MAX} bytes in a notification, not {len(text.encode())}")
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


def _as_text(payload: bytes) -> str | None:
    if b"\0" in payload:
        return None
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None
