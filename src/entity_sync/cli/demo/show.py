"""What the demo tells the person who started it."""

from __future__ import annotations

import os
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import click

from entity_sync.cli.demo import app, cluster
from entity_sync.cli.demo.servers import SCHEMES
from entity_sync.cli.logs import log_to_stderr
from entity_sync.cli.output import Output
from entity_sync.server.standalone import Listener

__all__ = ["SCHEMES", "Place", "one", "several"]

_COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")
_UPDATE = '"UPDATE orders SET quantity = quantity + 1 WHERE id = 3"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the demo runs, and on what.

    Attributes:
        port: of the first node; 0 for any that is free.
        database: None for a new one.
        topic_prefix: begins every topic on the broker.
    """

    host: str
    port: int
    database: Path | None
    topic_prefix: str


def one(place: Place, broker: str | None, *, is_opened: bool) -> None:
    """Serve one node in this process until Ctrl-C.

    Args:
        place: where.
        broker: the URL of one that runs; None to follow the file instead.
        is_opened: whether to open the page in a browser.
    """
    log_to_stderr("text")
    output = Output(is_json=False)
    link = None if broker is None else app.Link(broker, place.topic_prefix)

    def ready(listener: Listener, database: Path) -> None:
        page = app.page_url(listener)
        output.say(f"Open {output.bold(page)} in two tabs, and change something in one.")
        if broker is None:
            output.say("A change from outside is followed too; in another terminal:")
        else:
            output.say("A change from outside is shown once it is notified; in another terminal:")
        _say_commands(output, database, link, is_ours=False)
        output.say("Ctrl-C stops.")
        if is_opened:
            _open(output, [page])

    app.run(host=place.host, port=place.port, database=place.database, link=link, on_ready=ready)


def several(place: Place, broker: str, nodes: int, *, is_opened: bool) -> None:
    """Run nodes as processes of their own until Ctrl-C.

    Args:
        place: where.
        broker: the URL of one that runs, or a scheme of `SCHEMES` to start its server.
        nodes: how many.
        is_opened: whether to open their pages in a browser.
    """
    output = Output(is_json=False)
    colour = False if os.environ.get("NO_COLOR") else None

    def ready(started: cluster.Started) -> None:
        if started.server is not None:
            output.say(f"{started.server} runs for this demonstration on {started.broker}")
        all_of_them = {1: "it in two tabs", 2: "both"}.get(nodes, f"all {nodes}")
        output.say(f"Open {all_of_them}, and change something in one:")
        for number, page in enumerate(started.pages, 1):
            output.say(f"  {_name(number)}  {output.bold(page)}")
        output.say("The nodes share one SQLite file, and tell one another over the broker alone.")
        output.say("A change from outside is shown once it is notified; in another terminal:")
        link = app.Link(started.broker, place.topic_prefix)
        _say_commands(output, started.database, link, is_ours=started.server is not None)
        output.say("Ctrl-C stops everything.")
        if is_opened:
            _open(output, started.pages)

    def line(number: int, text: str) -> None:
        click.echo(f"{_name(number)} {click.style('│', dim=True)} {text}", err=True, color=colour)

    what = cluster.Cluster(
        nodes=nodes,
        broker=broker,
        topic_prefix=place.topic_prefix,
        host=place.host,
        port=place.port,
        database=place.database,
    )
    cluster.run(what, on_ready=ready, on_line=line)


def _name(number: int) -> str:
    text = f"node {number}" if number else "broker"
    return click.style(text, fg=_COLOURS[(number - 1) % len(_COLOURS)] if number else None)


def _say_commands(output: Output, database: Path, link: app.Link | None, *, is_ours: bool) -> None:
    output.say(f"  sqlite3 {quote(str(database))} {output.bold(_UPDATE)}")
    if link is not None:
        output.say(f"  {link.notify_command('orders', '3', is_private=is_ours)}")


def _open(output: Output, pages: Sequence[str]) -> None:
    opened = [webbrowser.open(page) for page in pages]
    if not all(opened):
        output.say("There is no browser to open it in.")
