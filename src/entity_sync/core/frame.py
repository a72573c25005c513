"""One encoded message, and the physical forms in which the doors send it."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["Frame"]

_AROUND = 100  # bytes of the objects of a frame, about
_TEXT = 0x81  # FIN and opcode 1, RFC 6455 §5.2


class Frame(Struct, eq=False, gc=False):
    """A complete text message, shared by every session that is sent it.

    Both forms are computed once, on first use, so a fan-out to N sessions frames once and
    hands the same object to N transports. The garbage collector need not visit any.

    Attributes:
        payload: the message, UTF-8 JSON.
    """

    payload: bytes
    _wire: bytes | None = None
    _text: str | None = None

    def __len__(self) -> int:
        return len(self.payload)

    @property
    def held(self) -> int:
        """Bytes of memory, with the one form in which a process's door sends it."""
        return _AROUND + 2 * len(self.payload)

    @property
    def wire(self) -> bytes:
        """The unmasked, unfragmented WebSocket frame of RFC 6455 §5.2."""
        if self._wire is None:
            self._wire = _header(len(self.payload)) + self.payload
        return self._wire

    @property
    def text(self) -> str:
        """The message as ASGI wants it."""
        if self._text is None:
            self._text = self.payload.decode()
        return self._text


def _header(length: int) -> bytes:
    if length < 126:
        return bytes((_TEXT, length))
    if length < 65_536:
        return bytes((_TEXT, 126)) + length.to_bytes(2, "big")
    return bytes((_TEXT, 127)) + length.to_bytes(8, "big")
