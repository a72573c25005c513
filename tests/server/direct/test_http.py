"""Plain HTTP at the direct door: health, readiness, pages."""

from __future__ import annotations

import asyncio

import pytest

from entity_sync.server.standalone import listen
from tests.server.direct.board import AwayBroker, Board
from tests.server.direct.raw import dial


async def ask(listener, path, method="GET"):
    async with dial(listener) as client:
        return await client.ask(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_healthy_and_ready(listener, path):
    """A node whose broker has confirmed is alive and ready."""
    assert (await ask(listener, path)).status == 200


async def test_not_ready_before_the_broker_confirmed():
    """Before the broker's first confirmation a node is alive but not ready, and says why."""
    async with listen(Board(broker=AwayBroker()).sync) as listener:
        assert (await ask(listener, "/healthz")).status == 200
        answer = await ask(listener, "/readyz")
        assert answer.status == 503
        assert b"broker" in answer.body


async def test_not_ready_while_draining(board, listener):
    """A node that drains is alive but not ready, and refuses handshakes."""
    await board.sync.node.drain()
    assert (await ask(listener, "/healthz")).status == 200
    answer = await ask(listener, "/readyz")
    assert (answer.status, answer.body) == (503, b"draining\n")


async def test_page(listener):
    """A page is served with headers that let it load nothing from elsewhere."""
    answer = await ask(listener, "/?query")
    assert (answer.status, answer.body) == (200, b"<!doctype html>")
    assert dict(answer.headers) == {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Length": "15",
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
        "img-src 'self' data:; connect-src 'self' ws: wss:",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "Connection": "close",
    }


async def test_head(listener):
    """HEAD is answered as GET is, without the body."""
    answer = await ask(listener, "/", "HEAD")
    assert (answer.status, answer.body, answer.header("Content-Length")) == (200, b"", "15")


@pytest.mark.parametrize("path", ["/nothing", "//", "/../etc/passwd", "/%2e%2e/", "*", "http://host/"])
async def test_unknown_paths(listener, path):
    """Every path but the exact ones is 404."""
    assert (await ask(listener, path)).status == 404


@pytest.mark.parametrize("method", ["POST", "DELETE", "BREW"])
async def test_other_methods(listener, method):
    """Only GET and HEAD are answered."""
    answer = await ask(listener, "/", method)
    assert (answer.status, answer.header("Allow")) == (405, "GET, HEAD")


async def test_a_client_that_half_closes(listener):
    """A client that ends its half right behind its request still gets the answer."""
    async with dial(listener) as client:
        client.writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        client.writer.write_eof()
        assert (await client.rest()).endswith(b"\r\n\r\nalive\n")


async def test_a_large_page():
    """A page larger than the socket's buffers arrives whole."""
    board = Board()
    body = b"x" * 5_000_000
    board.pages["/large"] = type(board.pages["/"])(body, "text/plain")
    async with listen(board.sync, pages=board.pages) as listener:
        assert (await ask(listener, "/large")).body == body
        await asyncio.gather(*(ask(listener, "/large") for _ in range(3)))
