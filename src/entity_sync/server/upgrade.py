"""The opening handshake at the direct door: `websockets`' checks, then ours, then the bare answer."""

from __future__ import annotations

from http import HTTPStatus

from websockets.http11 import Request, Response

from entity_sync.hub.node import Node
from entity_sync.model import ConnectionInfo
from entity_sync.server.handshake import Handshake, Refusal, consider
from entity_sync.server.http import plain
from entity_sync.server.parser import Parser

__all__ = ["upgrade"]


def upgrade(
    parser: Parser, request: Request, node: Node, peer: str | None
) -> tuple[Response, ConnectionInfo | None]:
    """Decide about a request for the WebSocket's path.

    Returns:
        what to answer, and for a connection what its handshake told.
    """
    response = parser.accept(request)
    if response.status_code == HTTPStatus.UPGRADE_REQUIRED:
        return plain(HTTPStatus.BAD_REQUEST, "here is a WebSocket, and this request asks for none"), None
    if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
        return response, None
    path, _, query = request.path.partition("?")
    headers = [(name.lower(), value) for name, value in request.headers.raw_items()]
    offered = () if parser.subprotocol is None else (str(parser.subprotocol),)
    outcome = consider(node, Handshake(path, query, headers, offered, peer))
    if isinstance(outcome, Refusal):
        return plain(HTTPStatus(outcome.status), outcome.text), None
    del response.headers["Date"]  # classic clients get exactly what the Go original answers
    return response, outcome
