"""The bakery as an Entity Sync application, with its page."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from shlex import join
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any

from entity_sync.app import EntitySync
from entity_sync.capture.sqlite import SQLiteCapture
from entity_sync.cli.demo.edits import Edits
from entity_sync.cli.demo.entities import STORED, User, declare
from entity_sync.cli.demo.shop import Shop
from entity_sync.server import standalone
from entity_sync.server.http import Page
from entity_sync.server.standalone import Listener

__all__ = ["Link", "build", "page_url", "pages", "run"]

_PATH = "/ws/entity-sync/"
_BROKERS = {
    "nsq": "NSQ",
    "nats": "NATS",
    "redis": "Redis",
    "postgres": "PostgreSQL",
    "postgresql": "PostgreSQL",
}
_KINDS = {"css": "text/css", "html": "text/html", "js": "text/javascript", "svg": "image/svg+xml"}
_PAGES = (
    "index.html", "icon.svg", "demo.css", "sections.css", "demo.js", "board.js", "branches.js", "cards.js",
    "client.js", "copy.js", "dom.js", "report.js", "rows.js", "watching.js", "wire.js",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Link:
    """How a node of the demo meets the others.

    Attributes:
        broker: its URL.
        topic_prefix: begins every topic.
        name: what the page calls this node.
    """

    broker: str
    topic_prefix: str = ""
    name: str = "one node of several"

    def notify_command(self, *key: str, is_private: bool) -> str:
        """What to run after a change from outside.

        Args:
            key: the entity and the id; left out, what comes before them.
            is_private: whether only who knows the broker's password sees it.
        """
        url = self.broker if is_private or "@" not in self.broker else "URL"
        prefix = ["--topic-prefix", self.topic_prefix] if self.topic_prefix else []
        return join([*_program(), "notify", "--broker", url, *prefix, *key])


def _program() -> list[str]:
    """What `entity-sync` is called where somebody pastes it: its name alone if the PATH leads to this one."""
    script = Path(sys.executable).with_name("entity-sync")
    if not script.exists():
        return [sys.executable, "-m", "entity_sync"]
    return ["entity-sync" if which("entity-sync") == str(script) else str(script)]


def build(database: Path, link: Link | None = None) -> EntitySync[User]:
    """The application on this SQLite file.

    Args:
        database: made if it is not there.
        link: to the other nodes; None for one node that follows the file itself. With a link nothing
            follows the file: what reaches another node has come over the broker.
    """
    shop = Shop(database)
    sync: EntitySync[User]
    if link is None:
        capture = SQLiteCapture(database, interval=0.05, entities=STORED)
        sync = EntitySync(f"memory://demo-{os.getpid()}", captures=[capture])
    else:
        sync = EntitySync(link.broker, topic_prefix=link.topic_prefix)
    declare(sync, shop, _about(shop, link))
    sync.on_message(Edits(sync, shop).answer)
    return sync


def _about(shop: Shop, link: Link | None) -> dict[str, Any]:
    about: dict[str, Any] = {"database": str(shop.path)}
    if link is None:
        return about
    scheme = link.broker.partition("://")[0]
    return about | {
        "node": link.name,
        "broker": _BROKERS.get(scheme, scheme),
        "notify": link.notify_command(is_private=False),
    }


def page_url(listener: Listener) -> str:
    """Where a browser finds the page."""
    return f"http://{listener.host}:{listener.port}/"


def pages() -> dict[str, Page]:
    """The page's files by their path."""
    here = files("entity_sync.cli.demo")
    return {
        "/" if name == "index.html" else f"/{name}": Page((here / name).read_bytes(), _kind(name))
        for name in _PAGES
    }


def _kind(name: str) -> str:
    kind = _KINDS[name.rpartition(".")[2]]
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def run(
    *,
    port: int = 8080,
    database: Path | None = None,
    host: str = "127.0.0.1",
    link: Link | None = None,
    on_ready: Callable[[Listener, Path], object] | None = None,
) -> None:
    """Serve the demonstration until SIGTERM, SIGINT or SIGHUP.

    Args:
        port: 0 for any that is free.
        database: the SQLite file; None for a new one that is removed at the end.
        host: address to listen on.
        link: to other nodes, if there are any.
        on_ready: called once a browser can connect.
    """
    with TemporaryDirectory(prefix="entity-sync-demo-") as folder:
        path = database or Path(folder, "bakery.sqlite3")

        def ready(listener: Listener) -> None:
            if on_ready is not None:
                on_ready(listener, path)

        standalone.run(build(path, link), host=host, port=port, path=_PATH, pages=pages(), on_ready=ready)
