"""The WebSocket parser of the direct door: `websockets`' own, set up for both wires."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from websockets.frames import CloseCode
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from entity_sync.core import v2

__all__ = ["Parser"]

_log = logging.getLogger("entity_sync.websocket")
_log.setLevel(logging.WARNING)  # below it `websockets` logs every connection, and every frame's content


class Parser(ServerProtocol):
    """A `ServerProtocol` that also takes clients without a subprotocol, and negotiates no extension.

    It never logs frames or headers, at whatever level, because they hold secrets.
    """

    def __init__(self, max_frame: int) -> None:
        """
        Args:
            max_frame: bytes of one frame; whoever assembles messages bounds their sum.
        """
        # subprotocols= would refuse clients that offer none, and those are the classic ones.
        super().__init__(select_subprotocol=_select, max_size=(None, max_frame), logger=_log)
        self.debug = False

    def fail(self, code: CloseCode | int, reason: str = "") -> None:
        """Close because of what the peer sent; a message that is too large gets no reason, as in Go."""
        super().fail(code, "" if code == CloseCode.MESSAGE_TOO_BIG else reason)


def _select(_parser: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    chosen = v2.select(offered)
    return None if chosen is None else Subprotocol(chosen)
