"""Raw sockets that speak just enough WebSocket to be cheap, so that the server is what is measured."""

from __future__ import annotations

import base64
import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PATH = "/ws/entity-sync/"
DOORS = ("direct", "direct-uvloop", "asgi")


@contextmanager
def serving(door: str) -> Iterator[int]:
    """Run the measured server in a process of its own; yields its port."""
    command = [sys.executable, "-m", "benchmarks.application", door]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server did not start; see {' '.join(command[1:])}")
        try:
            yield int(line)
        finally:
            process.kill()


class Reader:
    """One connection: whole frames in, masked frames out."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.frames = 0
        self._unread: list[bytes] = []
        self._buffer = bytearray()
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: entity-sync.v2\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self._receive()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if b" 101 " not in head:
            raise RuntimeError(head.decode())
        self._buffer = bytearray(rest)

    def send(self, message: Any) -> None:
        """Send one message."""
        payload = json.dumps(message).encode()
        length = len(payload)
        header = (
            struct.pack("!BB", 0x81, 0x80 | length)
            if length < 126
            else struct.pack("!BBH", 0x81, 0xFE, length)
        )
        self.socket.sendall(header + bytes(4) + payload)  # a mask of zeros is a mask

    def subscribe(self, id: str = "1") -> None:
        """Subscribe and wait for the state."""
        self.send({"action": "subscribe", "body": {"entity": "rows", "id": id}})
        self.wait_for(b'{"event":"snapshot"')

    def wait_for(self, start: bytes) -> bytes:
        """Read until a frame begins like this."""
        while True:
            while self._unread:
                frame = self._unread.pop(0)
                if frame.startswith(start):
                    return frame
            self._unread = self.read()

    def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send the application a message and wait for its answer."""
        self.send({"action": "message", "body": body})
        answer: dict[str, Any] = json.loads(self.wait_for(b'{"event":"message"'))["body"]
        return answer

    def read(self) -> list[bytes]:
        """Receive once; the frames that are whole now."""
        self._buffer += self._receive()
        found: list[bytes] = []
        while (end := self._end()) is not None:
            start, stop = end
            found.append(bytes(self._buffer[start:stop]))
            del self._buffer[:stop]
        self.frames += len(found)
        return found

    def _end(self) -> tuple[int, int] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        length, start = buffer[1] & 0x7F, 2
        if length == 126:
            length, start = int.from_bytes(buffer[2:4], "big"), 4
        elif length == 127:
            length, start = int.from_bytes(buffer[2:10], "big"), 10
        return (start, start + length) if len(buffer) >= start + length and len(buffer) >= start else None

    def _receive(self) -> bytes:
        data = self.socket.recv(262_144)
        if not data:
            raise RuntimeError("the server closed the connection")
        return data


def follow(readers: list[Reader], until: int, seconds: float) -> list[float]:
    """Read until each has row ``until``; returns the milliseconds from each change to its arrival."""
    selector = selectors.DefaultSelector()
    for reader in readers:
        selector.register(reader.socket, selectors.EVENT_READ, reader)
    waiting = len(readers)
    deadline = time.monotonic() + seconds
    latencies: list[float] = []
    while waiting:
        ready = selector.select(1.0)
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"{waiting} of {len(readers)} readers did not get row {until} in {seconds:g} s"
            )
        for key, _ in ready:
            for frame in key.data.read():
                if not frame.startswith(b'{"event":"snapshot"'):
                    continue
                changed, n = row_of(frame)
                latencies.append((time.monotonic_ns() - changed) / 1e6)
                waiting -= n == until
    selector.close()
    return latencies


def row_of(frame: bytes) -> tuple[int, int]:
    """When the row of a snapshot was changed, and its number."""
    start = frame.index(b'"at":') + 5
    at, _, rest = frame[start : start + 80].partition(b',"n":')
    return int(at), int(rest.partition(b",")[0])


def quantile(values: list[float], share: float) -> float:
    """The value below which this share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
