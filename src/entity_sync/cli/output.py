"""What a command writes: coloured in a terminal, plain in a pipe, JSON lines on request."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

import click
import msgspec

__all__ = ["Output"]

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

    def event(self, name: str, **members: Any) -> None:
        """Write something that happened, with the time."""
        now = datetime.now().astimezone()
        if self.is_json:
            line = {"time": now.isoformat(timespec="milliseconds"), "event": name, **members}
            click.echo(msgspec.json.encode(line).decode())
            return
        shown = " ".join(_compact(value) for value in members.values() if value not in (None, ()))
        label = click.style(f"{name:9}", fg=_COLOURS.get(name))
        self.say(f"{self.dim(now.strftime('%H:%M:%S.%f')[:-3])} {label} {shown}")


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
