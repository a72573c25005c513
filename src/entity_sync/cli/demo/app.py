"""The bakery as an Entity Sync application, with its page."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from entity_sync.app import EntitySync
from entity_sync.capture.sqlite import SQLiteCapture
from entity_sync.cli.demo.shop import STATUSES, Shop
from entity_sync.model import ClientMessage
from entity_sync.server import standalone
from entity_sync.server.http import Page
from entity_sync.server.standalone import Listener

__all__ = ["build", "pages", "run"]

_PATH = "/ws/entity-sync/"
_PAGES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/demo.css": ("demo.css", "text/css; charset=utf-8"),
    "/demo.js": ("demo.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


class _Quantity(msgspec.Struct, tag_field="field", tag="quantity", forbid_unknown_fields=True):
    id: int
    value: int


class _Status(msgspec.Struct, tag_field="field", tag="status", forbid_unknown_fields=True):
    id: int
    value: str


class _Note(msgspec.Struct, tag_field="field", tag="note", forbid_unknown_fields=True):
    id: int
    value: str


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    edit: _Quantity | _Status | _Note


def build(database: Path) -> EntitySync:
    """The application on this SQLite file."""
    shop = Shop(database)
    sync = EntitySync(f"memory://demo-{os.getpid()}", captures=[SQLiteCapture(database, interval=0.05)])

    @sync.entity("orders")
    async def order(id: int) -> dict[str, Any] | None:
        return await shop.order(id)

    @sync.entity("about")
    async def about(id: str) -> dict[str, Any] | None:
        return {"database": str(shop.path), "statuses": list(STATUSES)} if id == "demo" else None

    @sync.on_message
    async def edit(message: ClientMessage) -> dict[str, Any]:
        try:
            wanted = msgspec.json.decode(message.data, type=_Request).edit
            await _apply(shop, wanted)
        except (msgspec.DecodeError, ValueError) as error:
            return {"ok": False, "text": str(error)}
        await order.notify(wanted.id)
        return {"ok": True}

    return sync


async def _apply(shop: Shop, wanted: _Quantity | _Status | _Note) -> None:
    if isinstance(wanted, _Quantity):
        await shop.set_quantity(wanted.id, wanted.value)
    elif isinstance(wanted, _Status):
        await shop.set_status(wanted.id, wanted.value)
    else:
        await shop.set_note(wanted.id, wanted.value)


def pages() -> dict[str, Page]:
    """The page's files by their path."""
    here = files("entity_sync.cli.demo")
    return {path: Page((here / name).read_bytes(), kind) for path, (name, kind) in _PAGES.items()}


def run(
    *,
    port: int = 8080,
    database: Path | None = None,
    host: str = "127.0.0.1",
    on_ready: Callable[[Listener, Path], object] | None = None,
) -> None:
    """Serve the demonstration until SIGTERM or SIGINT.

    Args:
        port: 0 for any that is free.
        database: the SQLite file; None for a new one that is removed at the end.
        on_ready: called once a browser can connect.
    """
    with TemporaryDirectory(prefix="entity-sync-demo-") as folder:
        path = database or Path(folder, "bakery.sqlite3")

        def ready(listener: Listener) -> None:
            if on_ready is not None:
                on_ready(listener, path)

        standalone.run(build(path), host=host, port=port, path=_PATH, pages=pages(), on_ready=ready)
