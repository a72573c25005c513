"""Loopback ports for programs that are told where to listen, and start there again."""

from __future__ import annotations

import socket
import sys
from typing import Self

__all__ = ["HeldPort", "bound"]


class HeldPort:
    """A free port that stays free for those who ask for it by number, until `close` or the end of ``with``.

    A port that is chosen and let go may be anybody's a moment later: of a connection's own end, of another
    test. A socket that is bound and never listens keeps the system from giving it away, and on Linux does not
    hinder a listener that sets SO_REUSEADDR, as servers do. Elsewhere it would, so there nothing is held.

    Attributes:
        number: the port's.
    """

    def __init__(self) -> None:
        self._holder = bound(0)
        self.number: int = self._holder.getsockname()[1]
        if sys.platform != "linux":
            self.close()

    def close(self) -> None:
        """Let it go; harmless when repeated."""
        self._holder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def bound(port: int) -> socket.socket:
    """A socket at a port that others may share, ready to listen; 0 is any that is free."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    made.setblocking(False)
    return made
