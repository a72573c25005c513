"""Where the frames of each broker's protocol end: what a proxy must know to lose, double or swap messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["SPLITTERS", "Frame", "Splitter", "split_nothing"]


@dataclass(frozen=True, slots=True)
class Frame:
    """A piece that may be left out, doubled or moved without harm to the protocol, if it is a message."""

    data: bytes
    is_message: bool = False


Splitter: TypeAlias = Callable[[bytes], list[Frame]]
"""Takes what arrived, returns the frames that are complete with it, and keeps the rest."""


def split_nothing() -> Splitter:
    """Each chunk as it came."""
    return lambda data: [Frame(data)]


def _splitter(length: Callable[[bytes, int], int | None], is_message: Callable[[bytes], bool]) -> Splitter:
    """
    Args:
        length: of the frame that begins at a place, None while it is not known.
    """
    kept = b""

    def split(data: bytes) -> list[Frame]:
        nonlocal kept
        kept += data
        frames, start = [], 0
        while start < len(kept):
            size = length(kept, start)
            if size is None or start + size > len(kept):
                break
            frame = kept[start : start + size]
            frames.append(Frame(frame, is_message(frame)))
            start += size
        kept = kept[start:]
        return frames

    return split


def _nsq() -> Splitter:
    """A size, a type (2 is a message), the body."""

    def length(data: bytes, start: int) -> int | None:
        head = data[start : start + 4]
        return 4 + int.from_bytes(head, "big") if len(head) == 4 else None

    return _splitter(length, lambda frame: frame[4:8] == b"\0\0\0\2")


def _nats() -> Splitter:
    """Lines; that of a message names the size of what follows it."""

    def length(data: bytes, start: int) -> int | None:
        end = data.find(b"\r\n", start)
        if end < 0:
            return None
        line = data[start:end]
        rest = int(line.split()[-1]) + 2 if line.startswith((b"MSG ", b"HMSG ")) else 0
        return end + 2 - start + rest

    return _splitter(length, lambda frame: frame.startswith((b"MSG ", b"HMSG ")))


def _redis() -> Splitter:
    """RESP 2: lines, strings with their size, arrays of them."""

    def end_of(data: bytes, start: int) -> int | None:
        line_end = data.find(b"\r\n", start)
        if line_end < 0:
            return None
        end: int | None = line_end + 2
        kind, rest = data[start : start + 1], data[start + 1 : line_end]
        if kind == b"$" and int(rest) >= 0:
            return line_end + 2 + int(rest) + 2
        if kind == b"*":
            for _ in range(max(0, int(rest))):
                end = end_of(data, end) if end is not None and end < len(data) else None
        return end

    def length(data: bytes, start: int) -> int | None:
        end = end_of(data, start)
        return None if end is None else end - start

    return _splitter(length, lambda frame: frame.startswith(b"*3\r\n$7\r\nmessage\r\n"))


def _postgresql() -> Splitter:
    """A type ("A" is a notification), a size that counts itself, the body."""

    def length(data: bytes, start: int) -> int | None:
        head = data[start : start + 5]
        return 1 + int.from_bytes(head[1:], "big") if len(head) == 5 else None

    return _splitter(length, lambda frame: frame.startswith(b"A"))


SPLITTERS: dict[str, Callable[[], Splitter]] = {
    "nsq": _nsq,
    "nats": _nats,
    "redis": _redis,
    "postgresql": _postgresql,
}
"""URL scheme → how what its server sends is split; PostgreSQL without ``sslmode``'s question."""
