"""What a command writes: coloured in a terminal, plain in a pipe, JSON lines on request."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click
import msgspec

from entity_sync.errors import EntitySyncError

__all__ = ["Output", "failure", "printable"]

_COLOURS = {
    "snapshot": "green",
    "change": "green",
    "push": "green",
    "gone": "yellow",
    "stale": "red",
    "denied": "red",
}


class Output:
    """Writes to standard output.

    Attributes:
        is_json: events are JSON lines, for programs.
    """

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        # click leaves colours out of a pipe; NO_COLOR (no-color.org) asks for it in a terminal too.
        self._colour = False if os.environ.get("NO_COLOR") else None

    def bold(self, text: str) -> str:
        """For what matters most in a line."""
        return click.style(text, bold=True)

    def dim(self, text: str) -> str:
        """For what matters least."""
        return click.style(text, dim=True)

    def say(self, text: str) -> None:
        """Write a line for people."""
        click.echo(text, color=self._colour)

    def coloured(self, text: str, colour: str) -> str:
        """For what is to be told apart."""
        return click.style(text, fg=colour)

    def event(self, name: str, lines: Sequence[str] | None = None, **members: Any) -> None:
        """Write something that happened, with the time.

        Args:
            name: what.
            lines: for people, instead of the members' values; printable, but for colours.
            members: for programs.
        """
        now = datetime.now().astimezone()
        if self.is_json:
            told = {"time": now.isoformat(timespec="milliseconds"), "event": name, **members}
            click.echo(printable(msgspec.json.encode(told).decode()))
            return
        if lines is None:
            lines = [" ".join(_compact(value) for value in members.values() if value is not None)]
        label = click.style(f"{name:9}", fg=_COLOURS.get(name))
        for line in lines:
            self.say(f"{self.dim(now.strftime('%H:%M:%S.%f')[:-3])} {label} {line}".rstrip())


def failure(error: EntitySyncError) -> str:
    """Why a command failed, for whoever gave it."""
    cause = error.__cause__
    is_port_taken = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
    return f"{error} (--port)" if is_port_taken else str(error)


def printable(text: str) -> str:
    """What a server sent, in characters that a terminal only shows: the others could move the cursor, or turn
    a line around. They are spelled as in JSON, so that of JSON the meaning stays.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def _compact(value: Any) -> str:
    return printable(value if isinstance(value, str) else msgspec.json.encode(value).decode())
