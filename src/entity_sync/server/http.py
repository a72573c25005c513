"""What the direct door answers to plain HTTP: its health, and pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from entity_sync.hub.node import Node

__all__ = ["Page", "answer", "plain"]

_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self' ws: wss:"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True, slots=True)
class Page:
    """Something small to show a browser: the demonstration, not an application's assets.

    Attributes:
        body: the bytes.
        content_type: the value of its ``Content-Type`` header.
    """

    body: bytes
    content_type: str


def answer(request: Request, node: Node, pages: Mapping[str, Page]) -> Response:
    """Answer a request that does not concern the WebSocket.

    Args:
        pages: pages by their exact path.
    """
    if request.method not in ("GET", "HEAD"):
        response = plain(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is answered here")
        response.headers["Allow"] = "GET, HEAD"
    else:
        response = _found(request.path.partition("?")[0], node, pages)
    if request.method == "HEAD":
        response.body = b""  # its Content-Length stays that of the GET, RFC 9110 §9.3.2
    return response


def plain(status: HTTPStatus, text: str) -> Response:
    """A short text."""
    return _response(status, Page(f"{text}\n".encode(), "text/plain; charset=utf-8"))


def _found(path: str, node: Node, pages: Mapping[str, Page]) -> Response:
    if path == "/healthz":
        return plain(HTTPStatus.OK, "alive")
    if path == "/readyz":
        if node.is_ready:
            return plain(HTTPStatus.OK, "ready")
        reason = "draining" if node.is_draining else "the broker has not confirmed the subscriptions yet"
        return plain(HTTPStatus.SERVICE_UNAVAILABLE, reason)
    page = pages.get(path)
    if page is None:
        return plain(HTTPStatus.NOT_FOUND, "nothing is here")
    response = _response(HTTPStatus.OK, page)
    response.headers.update(_PAGE_HEADERS)
    return response


def _response(status: HTTPStatus, page: Page) -> Response:
    headers = Headers()
    headers["Content-Type"] = page.content_type
    headers["Content-Length"] = str(len(page.body))
    headers["Cache-Control"] = "no-store"
    headers["Connection"] = "close"
    return Response(status.value, status.phrase, headers, page.body)
