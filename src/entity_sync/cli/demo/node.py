"""One node of the demo as a process of its own, which `cluster` starts.

Its standard input tells it what to be, in one line of JSON, and is its life line: where that ends,
because the cluster stops or died, the node stops in order. It answers with its page's URL.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import msgspec

from entity_sync.cli.demo import app
from entity_sync.cli.logs import log_to_stderr
from entity_sync.cli.output import failure
from entity_sync.errors import EntitySyncError
from entity_sync.server.standalone import Listener

__all__ = ["Assignment", "main"]


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What a node is to be.

    Attributes:
        name: shown on its page.
        broker: the URL; it comes this way because others can read a command line.
        topic_prefix: begins every topic.
        database: the SQLite file.
        port: 0 for any that is free.
    """

    name: str
    broker: str
    topic_prefix: str
    database: str
    host: str
    port: int


def main() -> None:
    """Be the node that standard input describes, until it ends."""
    assignment = msgspec.json.decode(sys.stdin.buffer.readline(), type=Assignment)
    threading.Thread(target=_follow, name="life-line", daemon=True).start()
    log_to_stderr("text")
    try:
        app.run(
            host=assignment.host,
            port=assignment.port,
            database=Path(assignment.database),
            link=app.Link(assignment.broker, assignment.topic_prefix, assignment.name),
            on_ready=_ready,
        )
    except EntitySyncError as error:
        sys.exit(f"Error: {failure(error)}")


def _ready(listener: Listener, _database: Path) -> None:
    sys.stdout.write(f"{app.page_url(listener)}\n")
    sys.stdout.flush()


def _follow() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock this thread would hold at the interpreter's end
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
