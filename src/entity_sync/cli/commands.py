"""``entity-sync``: the commands, and how their failures look."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import get_args

import click

from entity_sync.brokers.registry import broker_from
from entity_sync.cli.logs import LogFormat, log_to_stderr
from entity_sync.cli.output import Output, failure
from entity_sync.cli.target import load_target
from entity_sync.cli.watch import watch as watch_row
from entity_sync.core.envelope import Envelope
from entity_sync.errors import BadId, ConfigurationError, EntitySyncError, UnknownBroker
from entity_sync.loading.ids import canonical_id
from entity_sync.loading.loader import check_name
from entity_sync.model import EntityKey
from entity_sync.publisher import Publisher
from entity_sync.server import standalone
from entity_sync.server.standalone import Listener

__all__ = ["main"]

_PORTS = click.IntRange(0, 65_535)


def _prefix(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        Envelope(value)
    except ConfigurationError as error:
        raise click.BadParameter(str(error)) from None
    return value


def _path(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not value.startswith("/"):
        raise click.BadParameter(f"a path starts with a slash, not {value!r}")
    return value


_TOPIC_PREFIX = click.option(
    "--topic-prefix",
    callback=_prefix,
    envvar="ENTITY_SYNC_TOPIC_PREFIX",
    default="",
    show_envvar=True,
    help="What every topic on the broker begins with; the same for all who share entities.",
)

_EPILOG = """\b
Examples:
  entity-sync demo
  entity-sync demo --nodes 3 --broker nsq
  entity-sync serve shop:sync --port 8080
  entity-sync watch ws://localhost:8080/ws/entity-sync/ orders 7

Exit codes: 0 done (Ctrl-C included), 1 it failed, 2 the command was wrong."""


def _version() -> str:
    try:
        return version("entity-sync")
    except PackageNotFoundError:  # run from its source tree
        return "unknown (not installed)"


class _Group(click.Group):
    """Shows our errors as one line, not as a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except EntitySyncError as error:
            raise click.ClickException(failure(error)) from None


@click.group(cls=_Group, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), prog_name="entity-sync")
def main() -> None:
    """Keep every shown piece of your data true."""


@main.command(
    short_help="Serve an EntitySync, without a web framework.",
    epilog="\b\nExamples:\n  entity-sync serve shop:sync\n"
    "  entity-sync serve shop.live:sync --host 0.0.0.0 --port 80 --path /live/ --log-format json",
)
@click.argument("target", metavar="MODULE:NAME")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=_PORTS, default=8080, show_default=True, help="Port to listen on; 0 for any that is free."
)
@click.option(
    "--path",
    callback=_path,
    default="/ws/entity-sync/",
    show_default=True,
    help="Path of the WebSocket, exactly.",
)
@click.option("--uvloop/--no-uvloop", default=None, help="Run on uvloop, or not; default: where installed.")
@click.option(
    "--log-format",
    type=click.Choice(get_args(LogFormat)),
    default="text",
    show_default=True,
    help="Of the log.",
)
def serve(
    target: str, host: str, port: int, path: str, *, uvloop: bool | None, log_format: LogFormat
) -> None:
    """Serve the EntitySync called NAME in MODULE, with /healthz and /readyz beside it.

    MODULE is looked for in the current directory first. SIGTERM, Ctrl-C or SIGHUP (the terminal was
    closed, and nohup does not prevent it) sends the clients away and stops; a second one stops at once. The
    log goes to standard error.
    """
    log_to_stderr(log_format)
    output = Output(is_json=False)

    def ready(listener: Listener) -> None:
        output.say(f"serving {target} on {output.bold(listener.url)}  (Ctrl-C stops)")

    standalone.run(load_target(target), host=host, port=port, path=path, uvloop=uvloop, on_ready=ready)


@main.command(
    short_help="Serve a live page on SQLite, on one node or several.",
    epilog="\b\nExamples:\n  entity-sync demo --open\n  entity-sync demo --port 0 --database shop.sqlite3\n"
    "  entity-sync demo --nodes 3 --broker nsq\n"
    "  entity-sync demo --nodes 3 --broker redis://127.0.0.1:6379",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=_PORTS, default=8080, show_default=True, help="Port to listen on; 0 for any that is free."
)
@click.option(
    "--database",
    type=click.Path(dir_okay=False, path_type=Path),
    help="SQLite file to use; default: a new one.",
)
@click.option(
    "--broker",
    help="What joins the nodes: the URL of one that runs, or nsq, nats, redis or postgresql to start one.",
)
@click.option(
    "--nodes",
    type=click.IntRange(1, 20),
    default=1,
    show_default=True,
    help="How many, each a process with a port of its own.",
)
@_TOPIC_PREFIX
@click.option(
    "--open/--no-open",
    "is_opened",
    default=False,
    show_default=True,
    help="Open each page in a browser, or not.",
)
def demo(
    *,
    host: str,
    port: int,
    database: Path | None,
    broker: str | None,
    nodes: int,
    topic_prefix: str,
    is_opened: bool,
) -> None:
    """Serve a small live page on SQLite, to be opened in two tabs, or on several nodes.

    With a broker the nodes do not watch the file: what another node shows came over the broker.
    """
    from entity_sync.cli.demo import show

    if broker is None and nodes > 1:
        raise click.UsageError(
            f"{nodes} nodes need a broker that joins them: --broker nsq (or nats, redis, postgresql) "
            "starts its server, --broker URL uses one that runs."
        )
    if broker is not None and broker not in show.SCHEMES:
        _check(broker, f"; --broker {', '.join(show.SCHEMES)} alone starts a server")
    if broker is not None and nodes > 1:
        _refuse_memory(broker)
    place = show.Place(host=host, port=port, database=database, topic_prefix=topic_prefix)
    if broker is None or (nodes == 1 and "://" in broker):
        show.one(place, broker, is_opened=is_opened)
    else:
        show.several(place, broker, nodes, is_opened=is_opened)


@main.command(
    short_help="Show rows, and every change of them.",
    epilog="\b\nExamples:\n  entity-sync watch ws://localhost:8080/ws/entity-sync/ orders 7\n"
    "  ENTITY_SYNC_SECRET=… entity-sync watch wss://shop.example/ws/entity-sync/ orders 7 --json",
)
@click.argument("url")
@click.argument("entity")
@click.argument("id")
@click.option("--classic", is_flag=True, help="Speak the Go original's wire: changes only, no first state.")
@click.option("--json", "is_json", is_flag=True, help="Write JSON lines.")
@click.option("--ask-secret", is_flag=True, help="Ask for the secret; default: $ENTITY_SYNC_SECRET, or none.")
def watch(url: str, entity: str, id: str, *, classic: bool, is_json: bool, ask_secret: bool) -> None:
    """Show the rows of ENTITY ID, and every change of them, until Ctrl-C.

    URL is the WebSocket's. After a drop the connection comes back by itself. Colours appear in a
    terminal only, and never with NO_COLOR set.
    """
    if not classic:  # a Go server has other names and ids
        _check_keys(entity, [id])
    secret = os.environ.get("ENTITY_SYNC_SECRET")
    if ask_secret:
        secret = click.prompt("Secret", hide_input=True, err=True)
    output = Output(is_json=is_json)
    watch_row(url, EntityKey(entity, id), secret, is_classic=classic, output=output)


@main.command(
    short_help="Say that rows changed, to all nodes behind a broker.",
    epilog="\b\nExamples:\n  entity-sync notify --broker nsq://127.0.0.1:4150 orders 7 8\n"
    "  ENTITY_SYNC_BROKER=redis://… entity-sync notify orders 7",
)
@click.option(
    "--broker", envvar="ENTITY_SYNC_BROKER", required=True, show_envvar=True, help="The broker's URL."
)
@_TOPIC_PREFIX
@click.argument("entity")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def notify(broker: str, topic_prefix: str, entity: str, ids: tuple[str, ...]) -> None:
    """Say that rows changed, to all nodes behind a broker; do it after the commit."""
    _check(broker)
    _refuse_memory(broker)
    _check_keys(entity, ids, topic_prefix)
    with Publisher(broker, topic_prefix=topic_prefix) as publisher:
        receipt = publisher.notify(entity, *ids)
    keys = " ".join(str(EntityKey(entity, id)) for id in ids)
    Output(is_json=False).say(f"{receipt.status}: {keys} (token {receipt.token})")


def _check(broker: str, more: str = "") -> None:
    try:
        broker_from(broker)
    except UnknownBroker as error:
        raise click.BadParameter(f"{error}{more}", param_hint="--broker") from None


def _check_keys(entity: str, ids: Sequence[str], topic_prefix: str = "") -> None:
    try:
        check_name(entity)
        check_name(topic_prefix + entity)
    except ConfigurationError as error:
        raise click.BadParameter(str(error), param_hint="ENTITY") from None
    try:
        for id in ids:
            canonical_id(entity, id)
    except BadId as error:
        raise click.BadParameter(str(error), param_hint="ID") from None


def _refuse_memory(broker: str) -> None:
    if broker.startswith("memory:"):
        raise click.BadParameter(
            "memory:// joins the nodes of one process: nothing that another process says can reach them. "
            "Name the broker that your nodes use.",
            param_hint="--broker",
        )
