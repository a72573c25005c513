"""``entity-sync``: the commands, and how their failures look."""

from __future__ import annotations

import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path

import click

from entity_sync.cli.output import Output
from entity_sync.cli.target import load_target
from entity_sync.cli.watch import watch_classic, watch_v2
from entity_sync.errors import ConfigurationError, EntitySyncError
from entity_sync.publisher import Publisher
from entity_sync.server import standalone
from entity_sync.server.standalone import Listener

__all__ = ["main"]

_EXIT = "\b\nExit codes: 0 done, 1 it failed, 2 the command was wrong."


class _Group(click.Group):
    """Shows our errors as one line, not as a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except EntitySyncError as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=_Group, epilog=_EXIT, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("entity-sync"), prog_name="entity-sync")
def main() -> None:
    """Keep every shown piece of your data true."""


@main.command(
    epilog="\b\nExamples:\n  entity-sync serve shop:sync\n"
    "  entity-sync serve shop.live:sync --host 0.0.0.0 --port 80 --path /live/"
)
@click.argument("target", metavar="MODULE:NAME")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, help="Port to listen on; 0 for any that is free.")
@click.option("--path", default="/ws/entity-sync/", show_default=True, help="Path of the WebSocket, exactly.")
@click.option("--uvloop/--no-uvloop", default=None, help="Run on uvloop, or not; default: where installed.")
def serve(target: str, host: str, port: int, path: str, uvloop: bool | None) -> None:
    """Serve the EntitySync called NAME in MODULE, with /healthz and /readyz beside it.

    SIGTERM or Ctrl-C sends the clients away and stops; a second one stops at once.
    """
    _log_to_stderr()
    output = Output(is_json=False)

    def ready(listener: Listener) -> None:
        output.say(f"serving {target} on {output.bold(listener.url)}  (Ctrl-C stops)")

    standalone.run(load_target(target), host=host, port=port, path=path, uvloop=uvloop, on_ready=ready)


@main.command(epilog="\b\nExamples:\n  entity-sync demo\n  entity-sync demo --port 0 --database shop.sqlite3")
@click.option("--port", default=8080, show_default=True, help="Port to listen on; 0 for any that is free.")
@click.option(
    "--database",
    type=click.Path(dir_okay=False, path_type=Path),
    help="SQLite file to use; default: a new one.",
)
def demo(port: int, database: Path | None) -> None:
    """Serve a small live page on SQLite, to be opened in two tabs."""
    from entity_sync.cli.demo import app

    _log_to_stderr()
    output = Output(is_json=False)

    def ready(listener: Listener, path: Path) -> None:
        page = f"http://{listener.host}:{listener.port}/"
        update = '"UPDATE orders SET quantity = quantity + 1 WHERE id = 3"'
        output.say(f"Open {output.bold(page)} in two tabs, and change something in one.")
        output.say("A change from outside is followed too; in another terminal:")
        output.say(f"  sqlite3 {path} {output.bold(update)}")
        output.say("Ctrl-C stops.")

    app.run(port=port, database=database, on_ready=ready)


@main.command(
    epilog="\b\nExamples:\n  entity-sync watch ws://localhost:8080/ws/entity-sync/ orders 7\n"
    "  ENTITY_SYNC_SECRET=… entity-sync watch wss://shop.example/ws/entity-sync/ orders 7 --json"
)
@click.argument("url")
@click.argument("entity")
@click.argument("id")
@click.option("--classic", is_flag=True, help="Speak the Go original's wire: changes only, no first state.")
@click.option("--json", "is_json", is_flag=True, help="Write JSON lines.")
@click.option("--ask-secret", is_flag=True, help="Ask for the secret; default: $ENTITY_SYNC_SECRET, or none.")
def watch(url: str, entity: str, id: str, *, classic: bool, is_json: bool, ask_secret: bool) -> None:
    """Show a row, and every change of it, until Ctrl-C."""
    secret = os.environ.get("ENTITY_SYNC_SECRET")
    if ask_secret:
        secret = click.prompt("Secret", hide_input=True, err=True)
    output = Output(is_json=is_json)
    follow = watch_classic if classic else watch_v2
    follow(url, entity, id, secret, output)


@main.command(epilog="\b\nExample:\n  entity-sync notify --broker nsq://127.0.0.1:4150 orders 7 8")
@click.option("--broker", envvar="ENTITY_SYNC_BROKER", required=True, help="The broker's URL.")
@click.argument("entity")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def notify(broker: str, entity: str, ids: tuple[str, ...]) -> None:
    """Say that rows changed, to all nodes behind a broker."""
    if broker.startswith("memory:"):
        raise ConfigurationError(
            "memory:// joins the nodes of one process: nothing that another process says can reach them. "
            "Name the broker that your nodes use."
        )
    with Publisher(broker) as publisher:
        receipt = publisher.notify(entity, *ids)
    Output(is_json=False).say(f"{receipt.status}: {len(ids)} of {entity}")


def _log_to_stderr() -> None:
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
