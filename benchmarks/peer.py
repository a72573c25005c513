"""Raw WebSocket clients: as little work as possible, so that the server is what is measured."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from benchmarks.row import NewRow, read_row

__all__ = ["Crowd", "Peer", "Round"]

_PATIENCE = 30.0  # seconds after which a benchmark gives up waiting
_SPACE = memoryview(bytearray(1 << 20))  # a megabyte allocated at each read would be what is measured
_SMALL = 4_096


class Peer:
    """One client, with a blocking handshake and no protocol library."""

    def __init__(self, port: int, *, is_v2: bool, window: int | None = None) -> None:
        """
        Args:
            window: bytes the kernel keeps for a client that does not read; its own choice if None.
        """
        self.is_v2 = is_v2
        self.socket = socket.socket()
        self.socket.settimeout(_PATIENCE)
        if window:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.socket.connect(("127.0.0.1", port))
        self._data = bytearray()
        offer = "Sec-WebSocket-Protocol: entity-sync.v2\r\n" if is_v2 else ""
        self.socket.sendall(
            (
                "GET /ws/entity-sync/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n"
            ).encode()
        )
        while b"\r\n\r\n" not in self._data:
            self._receive()
        head, _, rest = bytes(self._data).partition(b"\r\n\r\n")
        if b" 101 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(f"no WebSocket: {head[:80]!r}")
        self._data = bytearray(rest)

    def subscribe(self, ids: Sequence[str]) -> None:
        """Watch these items; a v2 client returns when it has been shown all of them."""
        if not self.is_v2:
            for id in ids:
                self.send({"action": "subscribe", "body": {"entity": "items", "id": id}})
            return
        self.send({"action": "subscribe", "body": [{"entity": "items", "id": id} for id in ids]})
        missing = set(ids)
        while missing:
            message = json.loads(self.read())
            if message["event"] == "snapshot":
                missing.discard(message["id"])

    def send(self, message: Any) -> None:
        """Send one message, masked with zeros."""
        payload = json.dumps(message).encode()
        size = len(payload)
        short = bytes((0x80 | size,)) if size < 126 else bytes((0x80 | 126,)) + size.to_bytes(2, "big")
        self.socket.sendall(b"\x81" + short + bytes(4) + payload)

    def read(self) -> bytes:
        """Block until the next message is whole."""
        while (payload := self._next()) is None:
            self._receive()
        return payload

    def arrived(self) -> list[bytes]:
        """Read once from a readable socket; the messages that are whole now."""
        self._receive()
        messages = []
        while (payload := self._next()) is not None:
            messages.append(payload)
        return messages

    def close(self) -> None:
        """Be gone."""
        self.socket.close()

    def _receive(self) -> None:
        size = self.socket.recv_into(_SPACE)
        if not size:
            raise RuntimeError("the server closed a connection")
        self._data += _SPACE[:size]

    def _next(self) -> bytes | None:
        data = self._data
        start, end = _bounds(data)
        if not end or len(data) < end:
            return None
        payload = bytes(data[start:end])
        del data[:end]
        return payload


class Round(NamedTuple):
    """One change at all its readers.

    Attributes:
        seconds: from the notify to the last delivery.
        row: what everybody got.
        size: bytes of the message.
    """

    seconds: float
    row: NewRow
    size: int


class Crowd:
    """Many peers of one server, read through one epoll."""

    def __init__(self, peers: Iterable[Peer]) -> None:
        self._poll = select.epoll()
        self._peers = {peer.socket.fileno(): peer for peer in peers}
        self._newest: dict[str, dict[int, int]] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def subscribe(self, ids: Callable[[int], Sequence[str]]) -> None:
        """Have each peer watch what ``ids`` says of its index, and then read through the epoll."""
        for index, (descriptor, peer) in enumerate(self._peers.items()):
            peer.subscribe(ids(index))
            peer.socket.setblocking(False)
            self._poll.register(descriptor, select.EPOLLIN)

    def close(self) -> None:
        """All are gone."""
        for peer in self._peers.values():
            peer.close()
        self._poll.close()

    def gather(self) -> Round:
        """Read one equal message at every peer, spinning, so that no wake-up is charged to the server.

        Raises:
            RuntimeError: two peers got different bytes, or somebody got nothing in time.
        """
        poll, peers = self._poll, self._peers
        whole = b""
        partial: dict[int, bytes] = {}
        left = len(peers)
        deadline = time.perf_counter() + _PATIENCE
        while left:
            for descriptor, _ in poll.poll(0, 1_024):
                data = peers[descriptor].socket.recv(_SMALL)
                if data != whole:
                    data = partial.pop(descriptor, b"") + data
                    _, end = _bounds(data)
                    if not end or len(data) < end:
                        partial[descriptor] = data
                        continue
                    if whole and data != whole:
                        raise RuntimeError("two readers of one change got different bytes")
                    whole = data
                left -= 1
            if time.perf_counter() > deadline:
                raise RuntimeError(f"{left} readers got nothing in time")
        now = time.perf_counter_ns()
        row = read_row(whole)
        return Round((now - row.at) / 1e9, row, len(whole))

    def follow(self, ended: Callable[[], Any]) -> tuple[Any, int, float]:
        """Read whatever comes until ``ended`` returns something and nothing has come for a while.

        Returns:
            what ``ended`` returned, how many states were read, and the seconds until the last.

        Raises:
            RuntimeError: a peer was shown an older state, or it never ended.
        """
        states = 0
        told = None
        started = last = time.perf_counter()
        deadline = started + _PATIENCE
        while time.perf_counter() < deadline:
            ready = self._poll.poll(0.5 if told is not None else 0.01, 1_024)
            if not ready and told is not None:
                return told, states, last - started
            for descriptor, _ in ready:
                for message in self._peers[descriptor].arrived():
                    row = read_row(message)
                    newest = self._newest.setdefault(row.id, {})
                    if row.n <= newest.get(descriptor, 0):
                        raise RuntimeError("a reader was shown an older state")
                    newest[descriptor] = row.n
                    states += 1
                    last = time.perf_counter()
            if told is None:
                told = ended()
        raise RuntimeError("the server never came to an end")

    def shown(self, id: str) -> set[int]:
        """The states that the peers ended with; 0 of one that got nothing."""
        newest = self._newest.get(id, {})
        return {newest.get(descriptor, 0) for descriptor in self._peers}


def _bounds(data: bytes | bytearray) -> tuple[int, int]:
    """Where the payload of the first frame begins and ends; zeros while its header is not whole."""
    if len(data) < 2:
        return 0, 0
    size = data[1] & 0x7F
    if size < 126:
        return 2, 2 + size
    width = 2 if size == 126 else 8
    start = 2 + width
    return (start, start + int.from_bytes(data[2:start], "big")) if len(data) >= start else (0, 0)
