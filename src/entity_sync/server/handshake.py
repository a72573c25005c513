"""Whether a WebSocket handshake is welcome, and what it tells about its connection."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from sys import intern
from types import MappingProxyType
from urllib.parse import urlsplit

from entity_sync.core import v2
from entity_sync.hub.node import Node
from entity_sync.model import ConnectionInfo

__all__ = ["Handshake", "Refusal", "consider"]

_log = logging.getLogger("entity_sync.connection")


@dataclass(frozen=True, slots=True)
class Handshake:
    """A handshake as any door reads it.

    Attributes:
        headers: names in lower case, in order, repeated ones as often as they came.
        offered: the subprotocols, in order.
    """

    path: str
    query: str
    headers: Sequence[tuple[str, str]]
    offered: Sequence[str]
    peer: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP answer instead of a connection."""

    status: int
    text: str


def consider(node: Node, handshake: Handshake) -> ConnectionInfo | Refusal:
    """Accept a handshake, or say why not.

    An Origin must be the host that was asked, or one that the application listed: a foreign page
    must not use its visitor's cookies (cross-site WebSocket hijacking, OWASP). Without an Origin
    it is no browser, so it may come if it brings no cookies.
    """
    headers = {intern(name): value for name, value in handshake.headers}  # clients send the same names
    if node.is_draining:
        return Refusal(503, "this node is draining; another one takes over")
    if node.is_full:
        return Refusal(503, "this node has as many connections as it may")
    refusal = _check_origin(headers, node)
    if refusal is not None:
        return refusal
    return ConnectionInfo(
        wire="v2" if v2.select(handshake.offered) else "classic",
        path=handshake.path,
        query=handshake.query,
        headers=MappingProxyType(headers),
        cookies=MappingProxyType(_cookies(headers.get("cookie", ""))),
        peer=handshake.peer,
    )


def _check_origin(headers: dict[str, str], node: Node) -> Refusal | None:
    allowed, origin = node.application.origins, headers.get("origin")
    if origin is None:
        if "cookie" not in headers:
            return None
        _warn(node, headers, "was refused: it has cookies and no Origin")
        return Refusal(403, "cookies without an Origin")
    try:
        host = urlsplit(origin).netloc.lower()
    except ValueError:
        host = ""
    if host and host == headers.get("host", "").lower():
        return None
    if "*" in allowed or origin.lower() in allowed:
        return None
    why = 'was refused: it comes from origin %.200r; EntitySync(origins=["…"]) lists others that may'
    _warn(node, headers, why, origin)
    return Refusal(403, "this Origin is not allowed; EntitySync(origins=[…]) lists those that are")


def _warn(node: Node, headers: dict[str, str], what: str, *which: str) -> None:
    """Say what a browser shows to nobody."""
    node.strangers += 1
    if node.strangers.bit_count() == 1:  # 1, 2, 4, 8 …: a flood cannot fill the log
        _log.warning(f"a WebSocket that asked for host %.200r {what}", headers.get("host", ""), *which)


def _cookies(header: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}
