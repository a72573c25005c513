"""Resident memory of an idle connection with one subscription, on the direct door."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.reader import Reader, serving


def options(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--sessions", type=int, default=2_000, help="connections (default 2000)")


def run(chosen: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Divide the growth by the connections; the kernel's own memory for sockets is not in it."""
    figures: dict[str, Any] = {}
    for door in ("direct", "asgi"):
        with serving(door) as port:
            control = Reader(port)
            readers = [Reader(port) for _ in range(100)]  # not counted: what the first ones allocate for all
            before = control.ask({"size": 300})["rss"]
            readers += [Reader(port) for _ in range(chosen.sessions)]
            for reader in readers[100:]:
                reader.subscribe()
            figures[f"{door}: KiB per connection"] = (
                (control.ask({})["rss"] - before) / chosen.sessions / 1024
            )
    return figures, []
