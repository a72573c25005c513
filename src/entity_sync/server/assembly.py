"""Frames → whole messages, bounded in bytes and in fragments."""

from __future__ import annotations

from websockets.frames import CloseCode, Frame, Opcode

__all__ = ["MAX_FRAGMENTS", "Assembly", "Unacceptable"]

MAX_FRAGMENTS = 1_024  # empty fragments cost no bytes, so bytes alone bound nothing


class Unacceptable(Exception):
    """A message the peer must not send.

    Attributes:
        code: what to close with.
        reason: why, for the close frame.
    """

    def __init__(self, code: CloseCode, reason: str = "") -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{code.value} {reason}".rstrip())


class Assembly:
    """Puts the fragments of one connection's messages together.

    The parser bounds each frame; the sum is bounded here and not there, because there a ping
    between two fragments would count as part of the message.
    """

    __slots__ = ("_fragments", "_is_lenient", "_is_text", "_limit", "_size")

    def __init__(self, limit: int, *, is_lenient: bool) -> None:
        """
        Args:
            limit: bytes of one message.
            is_lenient: pass on text that is not UTF-8, as bytes, where others refuse it.
        """
        self._limit = limit
        self._is_lenient = is_lenient
        self._size = 0
        self._fragments: list[bytes] = []
        self._is_text = False

    def add(self, frame: Frame) -> str | bytes | None:
        """Take a data frame.

        Returns:
            the message it completes, if it does: ``str`` of a text message, ``bytes`` otherwise.

        Raises:
            Unacceptable: the message is too large, in too many pieces, or no text where it says so.
        """
        self._size += len(frame.data)
        if self._size > self._limit:
            raise Unacceptable(CloseCode.MESSAGE_TOO_BIG)
        if len(self._fragments) == MAX_FRAGMENTS:
            raise Unacceptable(CloseCode.POLICY_VIOLATION, f"more than {MAX_FRAGMENTS} fragments")
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        self._fragments.append(bytes(frame.data))
        if not frame.fin:
            return None
        data = b"".join(self._fragments)
        self._fragments.clear()
        self._size = 0
        return self._decode(data) if self._is_text else data

    def _decode(self, data: bytes) -> str | bytes:
        try:
            return data.decode()
        except UnicodeDecodeError:
            if self._is_lenient:
                return data
            raise Unacceptable(CloseCode.INVALID_DATA, "text that is not UTF-8") from None
